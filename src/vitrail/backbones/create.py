"""Building an encoder by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitrail.backbones import timm_bridge
from vitrail.backbones.backbone import BACKBONES, Backbone
from vitrail.backbones.weights import backbone_in, fill, read_state_dict
from vitrail.errors import CheckpointError, ModelError
from vitrail.registry import check_arguments, keyword_arguments


def create_backbone(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    output_stride: int | None = None,
    in_channels: int = 3,
    **options: Any,
) -> Backbone:
    """Build an encoder by name: one of vitrail's own, or any of timm's.

    Parameters
    ----------
    name : str
        A name of `list_backbones()`; timm's names are kept where timm has the encoder.
    pretrained : bool or path
        True for the published ImageNet weights, a path for a local file: of the encoder, or of a whole segmentation
        model of vitrail's, of which the encoder is taken.
    output_stride : int, optional
        The stride of the last map. None keeps the encoder's own; 8 or 16 dilates convolutional encoders instead.
    in_channels : int
        Channels of the images.
    **options
        Keyword arguments of the encoder's builder.

    Raises
    ------
    ModelError
        For an unknown name, or an argument that the encoder does not take; the message names the nearest one. Also for
        weights of another encoder.
    CheckpointError
        When a file of weights is missing or cannot be read.
    """
    given: dict[str, Any] = {"in_channels": in_channels, **options}
    if output_stride is not None:
        given["output_stride"] = output_stride
    if not pretrained:
        return _build(name, given)
    own = name not in BACKBONES or "pretrained" in keyword_arguments(BACKBONES[name])
    if pretrained is True and not own:
        raise ModelError(
            f"backbone {name!r} has no published weights to start from: leave pretrained at false; a "
            "whole trained model is given as train.start_from (--from on the command line)"
        )
    if pretrained is not True:
        if not Path(pretrained).is_file():
            raise CheckpointError(
                f"there is no file of weights at {pretrained}; a model by its name, or of another project, is given as "
                "train.start_from (--from on the command line)"
            )
        state = read_state_dict(pretrained)
        inside = backbone_in(state)
        if inside is not None or not own:
            backbone = _build(name, given)
            fill(backbone, name, inside or state, pretrained)
            return backbone
    return _build(name, {**given, "pretrained": pretrained})


def _build(name: str, given: Mapping[str, Any]) -> Backbone:
    if name not in BACKBONES:
        return timm_bridge.create(name, given, known=tuple(BACKBONES))
    check_arguments(BACKBONES[name], given, f"backbone {name!r}", ModelError)
    return BACKBONES[name](**given)


def find_builder(name: str) -> Callable[..., Backbone]:
    """Return the builder of an encoder, whose keyword-only parameters are the encoder's options. Builds nothing.

    Raises
    ------
    ModelError
        For an unknown name; the message suggests the nearest one.
    """
    return BACKBONES[name] if name in BACKBONES else timm_bridge.find_builder(name, known=tuple(BACKBONES))
