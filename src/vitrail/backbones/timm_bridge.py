"""Encoders of timm as vitrail backbones.

References
----------
R. Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import LayerNorm2d
from timm.models import group_parameters, model_entrypoint
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.dilation import dilate_as_published
from vitrail.backbones.weights import read_state_dict
from vitrail.backbones.windows import pad_to_multiple
from vitrail.errors import ModelError, nearest
from vitrail.registry import check_arguments, keyword_arguments

FINEST_STRIDE = 4
COARSEST_STRIDE = 32
PYRAMID_LEVELS = 4

# Families (modules of timm) whose windows or patches must divide the image: images are padded to a multiple.
_PADDED = frozenset(
    {
        "csatv2",
        "deepseek_vit",
        "dla",
        "gemma4_vit",
        "hieradet_sam2",
        "qwen3_vit",
        "swin_transformer_v2",
        "tresnet",
        "vision_transformer_hybrid",
        "vision_transformer_sam",
        "vitamin",
    }
)

# Families that work at one image size only, or whose maps are smaller than their strides: not for segmentation.
_ONE_SIZE = frozenset(
    {
        "byoanet",
        "cait",
        "coat",
        "convit",
        "crossvit",
        "efficientformer",
        "efficientformer_v2",
        "gcvit",
        "hiera",
        "inception_resnet_v2",
        "inception_v3",
        "inception_v4",
        "levit",
        "maxxvit",
        "mlp_mixer",
        "naflexvit",
        "nest",
        "pit",
        "tnt",
        "vision_transformer_relpos",
        "visformer",
        "volo",
    }
)

# Arguments with which encoders of a fixed input size accept any size; the first set that an encoder takes is used.
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)


# Registered builders `(name, *, …) -> Backbone` of whole families, by the module of timm that defines them.
FAMILIES: dict[str, Callable[..., Backbone]] = {}

# Families whose published segmentation models apply a layer norm to every map, with its epsilon.
_NORMED: dict[str, float] = {"convnext": 1e-6}

# Single encoders of other families that need image sides to be multiples of an unusual number.
_ONE_SIZE_NAMES = frozenset({"bat_resnext26ts"})


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
        levels = _levels(model)
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
        padded = pad_to_multiple(images, (self.multiple, self.multiple), dims=(2, 3))
        maps = self.encoder.forward_intermediates(padded, indices=list(self.indices), intermediates_only=True)
        if padded is not images:
            maps = [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, self.strides, strict=True)]
        return [norm(x) for norm, x in zip(self.norms, maps, strict=True)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: activations inside blocks are recomputed in the backward pass."""
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
    if not _takes_any_size(name):
        raise ModelError(
            f"backbone {name!r} works at one image size only and cannot be used for segmentation; "
            "`list_backbones()` names those that take any size"
        )
    return FAMILIES.get(_family(name), timm_backbone)


def _check_loaded(name: str, path: str | Path, backbone: Backbone, fresh: Backbone) -> None:
    """Raise a ModelError when a weight equals that of a model with the same random initialisation and nothing loaded.

    timm renames what is in a file as the encoder needs, and ignores what does not fit.
    """
    untouched = fresh.state_dict()
    for key, value in backbone.state_dict().items():
        if key.startswith("encoder.") and value.dim() > 1 and value.any() and torch.equal(value, untouched[key]):
            raise ModelError(f"{path} does not hold the weights of {name!r}: {key.removeprefix('encoder.')} is missing")


def timm_names() -> list[str]:
    """Return the names of timm's encoders that take any size. Builds nothing."""
    return [name for name in timm.list_models() if _takes_any_size(name)]


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
    last = _levels(model)[-1][1]
    if output_stride not in (None, last):
        raise _undilatable(name, last, output_stride)
    return TimmBackbone(
        model,
        chosen_levels(name, model, out_indices),
        norm_eps=_norm_eps(name, norm_outputs),
        multiple=last if _family(name) in _PADDED else 1,
    )


def build_model(
    name: str, *, pretrained: bool | str | Path = False, output_stride: int | None = None, **arguments: Any
) -> Any:
    """Build a model of timm without its classifier, ready for images of any size where it can be.

    Parameters
    ----------
    name : str
        timm's name.
    pretrained : bool or path
        True downloads the published weights, a path reads a local file.
    output_stride : int, optional
        Passed on to encoders that take it.
    **arguments
        Of timm's constructor; None leaves one out.

    Raises
    ------
    ModelError
        When the model does not take an argument, has no weights, or they cannot be read or downloaded.
    """
    overlay = None if isinstance(pretrained, bool) else {"state_dict": read_state_dict(pretrained)}
    given = {key: value for key, value in arguments.items() if value is not None}

    def build(**more: Any) -> nn.Module:
        return timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **(more | given),
        )

    try:
        return _build_dilated(name, build, output_stride)
    except RuntimeError as error:
        if not pretrained:
            raise
        raise ModelError(_weights_message(name, pretrained, error)) from error
    except (OSError, ValueError) as error:
        if pretrained is not True:
            raise
        raise ModelError(_weights_message(name, pretrained, error)) from error


def _build_dilated(name: str, build: Callable[..., nn.Module], output_stride: int | None) -> nn.Module:
    if output_stride is None or output_stride == 32:
        return _build_any_size(name, build)
    try:
        return build(output_stride=output_stride)
    except AssertionError:  # raised by timm for a stride that the model does not support
        return _build_any_size(name, build)
    except TypeError as error:
        if _unexpected(error) != "output_stride":
            raise _refused(name, error) from error
        return _build_any_size(name, build)


def _build_any_size(name: str, build: Callable[..., nn.Module]) -> nn.Module:
    for arguments in _ANY_SIZE if _has_fixed_size(name) else _ANY_SIZE[-1:]:
        try:
            return build(**arguments)
        except TypeError as error:  # noqa: PERF203 - four tries at most
            if _unexpected(error) not in arguments:
                raise _refused(name, error) from error
    raise ModelError(f"timm cannot build {name!r}")


def _undilatable(name: str, last: int, output_stride: int | None) -> ModelError:
    return ModelError(
        f"backbone {name!r} ends at stride {last} and cannot be brought to output_stride={output_stride}; "
        "leave output_stride out or choose a convolutional encoder"
    )


def _unexpected(error: TypeError) -> str | None:
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return found[1] if found else None


def _refused(name: str, error: TypeError) -> Exception:
    argument = _unexpected(error)
    return error if argument is None else ModelError(f"backbone {name!r} takes no argument {argument!r}")


def _has_fixed_size(name: str) -> bool:
    cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return cfg is None or bool(cfg.fixed_input_size)


def _family(name: str) -> str:
    return model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]


def _takes_any_size(name: str) -> bool:
    return _family(name) not in _ONE_SIZE and name.partition(".")[0] not in _ONE_SIZE_NAMES


def _norm_eps(name: str, norm_outputs: bool | None) -> float | None:
    published = _NORMED.get(_family(name))
    wanted = published is not None if norm_outputs is None else norm_outputs
    return (published or 1e-5) if wanted else None


def _levels(model: nn.Module) -> list[tuple[int, int]]:
    """Return (channels, stride) of every feature level of a timm model."""
    info: Any = model.feature_info
    return [(int(level["num_chs"]), int(level["reduction"])) for level in info]


def chosen_levels(name: str, model: nn.Module, out_indices: Sequence[int] | None) -> list[int]:
    """Return the feature levels to take: `out_indices`, or four evenly spaced blocks or every level from stride 4 on.

    Raises
    ------
    ModelError
        For a level that the encoder does not have.
    """
    strides = [stride for _, stride in _levels(model)]
    if out_indices is not None:
        for index in out_indices:
            if not 0 <= index < len(strides):
                raise ModelError(
                    f"backbone {name!r} has feature levels 0 to {len(strides) - 1}; out_indices has {index}"
                )
        return list(out_indices)
    if len(set(strides)) == 1 and len(strides) > PYRAMID_LEVELS:
        return [(i + 1) * len(strides) // PYRAMID_LEVELS - 1 for i in range(PYRAMID_LEVELS)]
    levels = [i for i, stride in enumerate(strides) if stride >= FINEST_STRIDE]
    return [i for i in levels if strides[i] <= COARSEST_STRIDE] if len(levels) > PYRAMID_LEVELS else levels


def _weights_message(name: str, pretrained: bool | str | Path, error: Exception) -> str:
    if pretrained is True:
        return (
            f"the pretrained weights of {name!r} cannot be downloaded ({_first_line(error)}). Connect to the internet "
            "once (they are cached), or give the path of a downloaded file as pretrained=PATH, or pretrained=False"
        )
    return f"{pretrained} does not hold the weights of {name!r}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
