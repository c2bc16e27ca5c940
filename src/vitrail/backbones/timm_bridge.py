"""Encoders of timm as vitrail backbones.

References
----------
R. Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import LayerNorm2d
from timm.models import group_parameters
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.dilation import dilate_as_published
from vitrail.backbones.timm_families import family_of, is_padded, norm_eps, takes_any_size
from vitrail.backbones.timm_model import build_model, chosen_levels, feature_levels
from vitrail.backbones.windows import ceil_divide, pad_to_multiple
from vitrail.errors import ModelError, nearest
from vitrail.registry import check_arguments, keyword_arguments

# Registered builders `(name, *, …) -> Backbone` of whole families, by the module of timm that defines them.
FAMILIES: dict[str, Callable[..., Backbone]] = {}


def register_family(module: str) -> Callable[[Callable[..., Backbone]], Callable[..., Backbone]]:
    """Register a builder `(name, *, …) -> Backbone` for every encoder that timm defines in `module`."""

    def decorator(builder: Callable[..., Backbone]) -> Callable[..., Backbone]:
        FAMILIES[module] = builder
        return builder

    return decorator


class TimmBackbone(Backbone):
    """An encoder of timm.

    Parameters
    ----------
    model : nn.Module
        A model of timm with `forward_intermediates`.
    indices : sequence of int
        The feature levels to return, as timm counts them (blocks of a plain transformer).
    norm_eps : float or None
        Epsilon of the layer norm applied to each map; None applies none.
    multiple : int
        Images are zero-padded at the bottom and right to multiples of this; the maps are cropped accordingly.
    """

    encoder: Any  # nn.Module, with the methods that timm gives its models

    def __init__(self, model: Any, indices: Sequence[int], *, norm_eps: float | None = None, multiple: int = 1) -> None:
        super().__init__()
        self.multiple = multiple
        levels = feature_levels(model)
        self.channels = tuple(levels[i][0] for i in indices)
        self.strides = tuple(levels[i][1] for i in indices)
        self.indices = tuple(indices)
        model.prune_intermediate_layers(list(indices), prune_norm=True, prune_head=True)
        self.encoder = model
        self.norms = nn.ModuleList(
            nn.Identity() if norm_eps is None else LayerNorm2d(channels, eps=norm_eps) for channels in self.channels
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into one map per entry of `channels`, finest first."""
        height, width = images.shape[-2:]
        multiple = (self.multiple, self.multiple)
        padded = pad_to_multiple(images, multiple, dims=(2, 3)) if self.multiple > 1 else images
        maps = self.encoder.forward_intermediates(padded, indices=list(self.indices), intermediates_only=True)
        if padded is not images:
            sizes = [(ceil_divide(height, stride), ceil_divide(width, stride)) for stride in self.strides]
            maps = [x[..., :rows, :columns] for x, (rows, columns) in zip(maps, sizes, strict=True)]
        return [norm(x) for norm, x in zip(self.norms, maps, strict=True)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: activations inside blocks are recomputed in the backward pass.

        Raises
        ------
        ModelError
            When the encoder does not support it.
        """
        try:
            self.encoder.set_grad_checkpointing(enable)
        except AssertionError as error:  # raised by encoders of timm that do not support it
            raise ModelError(f"timm's {type(self.encoder).__name__} has no gradient checkpointing") from error

    def parameter_depths(self) -> dict[str, int]:
        """Return the depth of each parameter by name, 0 nearest to the image, one step per block."""
        return self._groups(coarse=False)

    def parameter_stages(self) -> dict[str, int]:
        """Return the stage of each parameter by name: 0 is the stem, 1 the first stage."""
        return self._groups(coarse=True)

    def _groups(self, *, coarse: bool) -> dict[str, int]:
        try:
            matcher = self.encoder.group_matcher(coarse=coarse)
        except (AttributeError, AssertionError) as error:  # some models of timm define no groups
            name = type(self.encoder).__name__
            raise ModelError(f"timm's {name} defines no parameter groups") from error
        groups = group_parameters(self.encoder, matcher, reverse=True)
        depths = {f"encoder.{name}": int(group) for name, group in groups.items()}
        last = max(depths.values())
        return {name: depths.get(name, last + 1) for name, _ in self.named_parameters()}


def create(
    name: str,
    options: Mapping[str, Any],
    *,
    known: Sequence[str] = (),
    constructor: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build an encoder of timm.

    Parameters
    ----------
    name : str
        timm's name.
    options : mapping
        Keyword arguments of `timm_backbone`, or of the builder that is registered for the encoder's family.
    known : sequence of str
        Names to suggest besides timm's when there is no such encoder.
    constructor : mapping, optional
        Further arguments of timm's constructor, for encoders that are defined in terms of another. Never taken from
        a recipe or a file: timm's function also takes paths and addresses of weights.

    Raises
    ------
    ModelError
        For a name that timm does not have, an option that the encoder does not take, or weights that cannot be loaded.
    """
    builder = find_builder(name, known=known)
    given = dict(options)
    output_stride = given.get("output_stride")
    if "output_stride" not in keyword_arguments(builder):
        given.pop("output_stride", None)
    check_arguments(builder, given, f"backbone {name!r}", ModelError)
    build = functools.partial(builder, name, constructor) if constructor else functools.partial(builder, name)
    random_state = torch.get_rng_state()
    backbone = build(**given)
    pretrained = given.get("pretrained", False)
    if not isinstance(pretrained, bool):
        torch.set_rng_state(random_state)
        _check_loaded(name, pretrained, backbone, build(**{**given, "pretrained": False}))
    if "output_stride" not in given and output_stride not in (None, max(backbone.strides)):
        raise _undilatable(name, max(backbone.strides), output_stride)
    return backbone


def find_builder(name: str, *, known: Sequence[str] = ()) -> Callable[..., Backbone]:
    """Return the builder of an encoder of timm. Builds nothing.

    Parameters
    ----------
    name : str
        timm's name.
    known : sequence of str
        Names to suggest besides timm's when there is no such encoder.

    Raises
    ------
    ModelError
        For a name that timm does not have, and for an encoder that works at one image size only.
    """
    if not timm.is_model(name):
        names = [*known, *timm.list_models()]
        raise ModelError(f"unknown backbone {name!r}.{nearest(name, names)} `list_backbones()` names them all.")
    try:
        timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:  # "resnet18.x", where timm has no weights of that name
        names = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise ModelError(
            f"unknown backbone {name!r}: timm has no weights of that name.{nearest(name, names)}"
        ) from error
    if not takes_any_size(name):
        raise ModelError(
            f"backbone {name!r} works at one image size only and cannot be used for segmentation; "
            "`list_backbones()` names those that take any size"
        )
    return FAMILIES.get(family_of(name), timm_backbone)


def _check_loaded(name: str, path: str | Path, backbone: Backbone, fresh: Backbone) -> None:
    """Raise a ModelError when a weight equals that of a model with the same random initialisation and nothing loaded.

    timm renames what is in a file as the encoder needs, and ignores what does not fit.
    """
    untouched = fresh.state_dict()
    for key, value in backbone.state_dict().items():
        if key.startswith("encoder.") and value.dim() > 1 and value.any() and torch.equal(value, untouched[key]):
            raise ModelError(f"{path} does not hold the weights of {name!r}: {key.removeprefix('encoder.')} is missing")


def timm_backbone(
    name: str,
    constructor: Mapping[str, Any] | None = None,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    drop_rate: float | None = None,
    img_size: int | tuple[int, int] | None = None,
    norm_outputs: bool | None = None,
    timm_dilation: bool = False,
) -> TimmBackbone:
    """Build an encoder of timm.

    Parameters
    ----------
    name : str
        timm's name, with or without the tag of the weights ("resnet50c", "convnext_tiny.fb_in22k").
    constructor : mapping, optional
        See `create`.
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    output_stride : int, optional
        The stride of the last map; less than the encoder's own dilates it.
    in_channels : int
        Channels of the images. Pretrained filters are summed or repeated to fit.
    out_indices : sequence of int, optional
        Feature levels to return, as timm counts them (blocks of a plain transformer). None takes every level at
        stride 4 or more of a hierarchical encoder, and four evenly spaced blocks of a plain one.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    drop_rate : float, optional
        Dropout inside the encoder, where it has any.
    img_size : int or (int, int), optional
        The size that position embeddings and windows are laid out for; any other size still works.
    norm_outputs : bool, optional
        Apply a layer norm to every feature map. None does what the encoder's published segmentation models do
        (ConvNeXt: yes).
    timm_dilation : bool
        False dilates ResNets and MobileNets as the published segmentation weights want it, True as timm does (see
        `vitrail.backbones.dilation`).

    Raises
    ------
    ModelError
        When the encoder does not take one of these, has no weights, or they cannot be read or downloaded.
    """
    model = build_model(
        name,
        pretrained=pretrained,
        output_stride=output_stride,
        in_chans=in_channels,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
        img_size=img_size,
        **(constructor or {}),
    )
    if output_stride is not None and not timm_dilation:
        dilate_as_published(name, model, output_stride)
    last = feature_levels(model)[-1][1]
    if output_stride not in (None, last):
        raise _undilatable(name, last, output_stride)
    return TimmBackbone(
        model,
        chosen_levels(name, model, out_indices),
        norm_eps=norm_eps(name, norm_outputs),
        multiple=last if is_padded(name) else 1,
    )


def _undilatable(name: str, last: int, output_stride: int | None) -> ModelError:
    return ModelError(
        f"backbone {name!r} ends at stride {last} and cannot be brought to output_stride={output_stride}; "
        "leave output_stride out or choose a convolutional encoder"
    )
