"""Build segmentors: by the name of a method, or from the model section of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitrail.backbones import Backbone, create_backbone
from vitrail.errors import ModelError
from vitrail.losses import create_criterion
from vitrail.recipes.schema import LossConfig, ModelConfig
from vitrail.registry import keyword_arguments
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.card import ModelCard
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import SEGMENTORS, Method
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head, Segmentor


def create_model(
    name: str,
    backbone: str | Backbone | None = None,
    num_classes: int = 19,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    backbone_options: Mapping[str, Any] | None = None,
    auxiliary: Auxiliary | None = None,
    criterion: Criterion | None = None,
    auxiliary_criterion: Criterion | None = None,
    card: ModelCard | None = None,
    one_output: bool = False,
    **options: Any,
) -> Segmentor:
    """Build a segmentor by name.

    Parameters
    ----------
    name : str
        A name of `list_segmentors()`.
    backbone : str, Backbone or None
        A name of `list_backbones()`, a backbone that is already built, or None for the one the method was published
        with (at the output stride it was published with, unless `output_stride` is given).
    num_classes : int
        K, the number of classes.
    pretrained, output_stride, in_channels
        Passed to `create_backbone`; not allowed with a backbone that is already built.
    backbone_options : mapping, optional
        Further keyword arguments of the backbone's builder.
    auxiliary : Auxiliary, optional
        The auxiliary heads; None takes those the method was published with, `Auxiliary(weight=0)` builds none.
    criterion, auxiliary_criterion, card
        Passed to `Segmentor`.
    one_output : bool
        Tell two classes apart (`num_classes=2`) by one output, the logit of the second class, as for vessels or cracks;
        cross entropy is then its binary cross entropy.
    **options
        Keyword arguments of the method's head.

    Returns
    -------
    Segmentor
        With fresh weights (the backbone's pretrained ones where asked for).

    Raises
    ------
    ModelError
        For an unknown name or argument (the message suggests the nearest known one), and for an auxiliary head on a
        feature map that the backbone does not have.

    Examples
    --------
    >>> model = create_model("pspnet", backbone="resnet50c", num_classes=150, output_stride=8, channels=512)
    """
    method = SEGMENTORS[name]
    method.check_options(f"segmentor {name!r}", options)
    if num_classes < 1:
        raise ModelError(f"num_classes must be at least 1, not {num_classes}")
    if one_output and num_classes != 2:
        raise ModelError(f"one output tells two classes apart, not {num_classes}")
    if isinstance(backbone, Backbone):
        if pretrained or output_stride is not None or in_channels != 3 or backbone_options:
            raise ModelError("options of the backbone cannot be given with a backbone that is already built")
    else:
        if backbone is None and output_stride is None:
            output_stride = method.output_stride
        if backbone is None and not backbone_options:
            backbone_options = method.backbone_options
        clash = {"pretrained", "output_stride", "in_channels"} & (backbone_options or {}).keys()
        if clash:
            raise ModelError(f"{', '.join(sorted(clash))} belongs beside backbone_options, not in it")
        backbone = create_backbone(
            backbone or method.backbone,
            pretrained=pretrained,
            output_stride=output_stride,
            in_channels=in_channels,
            **(backbone_options or {}),
        )
    return Segmentor(
        *_parts(
            method,
            backbone,
            1 if one_output else num_classes,
            options,
            method.auxiliary if auxiliary is None else auxiliary,
        ),
        criterion=criterion,
        auxiliary_criterion=auxiliary_criterion,
        card=card,
        one_output=one_output,
    )


def build_model(config: ModelConfig, num_classes: int, *, card: ModelCard | None = None) -> Segmentor:
    """Build the segmentor that the model section of a recipe describes.

    Parameters
    ----------
    config : ModelConfig
        The model section.
    num_classes : int
        K, the number of classes; the caller decides between the section's own and the dataset's. Where it is 2 and the
        section says 1, the model has one output.
    card : ModelCard, optional
        The model's card.

    Returns
    -------
    Segmentor
        With fresh weights (the backbone's pretrained ones where the section asks for them) and the section's losses.

    Raises
    ------
    ModelError
        For a segmentor, backbone, loss or argument that does not exist, and where `create_model` raises it.
    """
    method = SEGMENTORS[config.segmentor]
    method.check_options(f"segmentor {config.segmentor!r}", config.options)
    losses, one_output = config.auxiliary.losses, has_one_output(config, num_classes)
    return create_model(
        config.segmentor,
        config.backbone,
        num_classes,
        pretrained=config.pretrained,
        output_stride=config.output_stride,
        in_channels=config.in_channels,
        backbone_options=config.backbone_options,
        auxiliary=described_auxiliary(config),
        criterion=_criterion(config.losses, one_output),
        auxiliary_criterion=None if losses is None else _criterion(losses, one_output),
        card=card,
        one_output=one_output,
        **config.options,
    )


def described_auxiliary(config: ModelConfig) -> Auxiliary:
    """Return the auxiliary heads of a recipe: those of the method, with what `model.auxiliary` changes.

    Raises
    ------
    ModelError
        For an unknown method, for changes to auxiliary heads that the method does not have, and for impossible ones.
    """
    changes = config.auxiliary.model_dump(exclude_none=True)
    return SEGMENTORS[config.segmentor].changed_auxiliary(repr(config.segmentor), changes)


def _parts(
    method: Method, backbone: Backbone, num_classes: int, options: Mapping[str, Any], auxiliary: Auxiliary
) -> tuple[Backbone, Head, list[tuple[Head, float]]]:
    """Return the backbone as the method reads it, the head, and the auxiliary heads with their weights."""
    backbone = method.head.wrap_backbone(backbone, **_taken(method.head.wrap_backbone, options))
    maps = FeatureMaps(tuple(backbone.channels), tuple(backbone.strides))
    head = _head(method.head, maps, num_classes, _taken(method.head, options))
    head.take_layers(backbone)
    return backbone, head, _auxiliary_heads(auxiliary, maps, head, options)


def _head(build: Callable[..., Head], maps: FeatureMaps, num_classes: int, options: Mapping[str, Any]) -> Head:
    """Build a head, refusing options that have the right types but that its layers cannot have."""
    given = ", ".join(f"{name}={value}" for name, value in options.items())
    try:
        head = build(maps, num_classes, **options)
    except (RuntimeError, ValueError, ArithmeticError, AssertionError) as error:  # how PyTorch's layers refuse a number
        if torch.get_default_device().type == "meta":  # where layers have reasons that a real device has not
            raise
        raise ModelError(f"the head cannot be built on this backbone, {error}: change its options ({given})") from error
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.numel():
            raise ModelError(f"{name} of the head has no channels: change its options ({given})")
    return head


def _taken(builder: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in keyword_arguments(builder) if name in options}


def _auxiliary_heads(
    auxiliary: Auxiliary, maps: FeatureMaps, head: Head, options: Mapping[str, Any]
) -> list[tuple[Head, float]]:
    """Build the auxiliary heads that accompany `head`, which was built with `options`."""
    own = {name: parameter.default for name, parameter in keyword_arguments(type(head)).items()} | dict(options)
    shared: dict[str, Any] = {}
    for name in ("dropout", "dilation", "leaky"):
        value = getattr(auxiliary, name)
        if value is not None or name in own:
            shared[name] = own[name] if value is None else value
    heads: list[tuple[Head, float]] = []
    for index, channels in auxiliary.heads:
        maps.check_index(index, "auxiliary.maps")
        fcn = FCNHead(
            maps,
            head.num_classes,
            index=index,
            channels=channels,
            num_convs=auxiliary.num_convs,
            kernel_size=auxiliary.kernel_size,
            concat_input=auxiliary.concat_input,
            upsample=auxiliary.upsample,
            upsample_mode=auxiliary.upsample_mode,
            align_corners=head.align_corners,
            **shared,
        )
        heads.append((fcn, auxiliary.weight))
    return heads


def has_one_output(config: ModelConfig, num_classes: int) -> bool:
    """Return whether the model that a section describes tells `num_classes` classes, two, apart by one output."""
    return config.num_classes == 1 and num_classes == 2


def _criterion(terms: Sequence[LossConfig], one_output: bool) -> nn.Module:
    return create_criterion(
        [_of_one_output(term) if one_output else (term.name, term.weight, term.options) for term in terms]
    )


def _of_one_output(term: LossConfig) -> tuple[str, float, Mapping[str, Any]]:
    """Return a loss for the logits (0, z) of two classes in place of one for the logit z."""
    if term.name == "binary_cross_entropy":  # that of z is the cross entropy of (0, z)
        return "cross_entropy", term.weight, {**term.options, "weights_in_mean": False}
    if term.options.get("sigmoid"):
        raise ModelError(
            f"loss {term.name!r} with sigmoid=true takes an output for each class, and model.num_classes is 1: leave "
            "sigmoid out, the softmax over the two classes is the sigmoid of the one output"
        )
    return term.name, term.weight, term.options
