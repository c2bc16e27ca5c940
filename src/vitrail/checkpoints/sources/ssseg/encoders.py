"""What the records of SSSegmentation's encoders share, and the translation of a `backbone` section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.records import BackboneRecord, find_backbone
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.registry import Registry

Config = Mapping[str, Any]
Translate = Callable[[Config], Encoder]
BackboneRecords = Registry[BackboneRecord[Translate]]
BACKBONES: BackboneRecords = Registry(
    "SSSegmentation encoder", UnsupportedError, "vitrail.checkpoints.sources.ssseg.backbones"
)
# Convolutions with norms are sequences there, whose members have numbers.
CONV_NORM: Names = {"0": "conv", "1": "bn"}
# After a pooling, which is the first member.
POOLED: Names = {"1": "conv", "2": "bn"}
SEPARABLE: Names = {
    "depthwise_conv": "depthwise.conv",
    "depthwise_bn": "depthwise.bn",
    "pointwise_conv": "pointwise.conv",
    "pointwise_bn": "pointwise.bn",
}


def translate_backbone(values: Config, *, pyramid: bool, norm_outputs: bool, where: str) -> Encoder:
    """Return the encoder that a `backbone` section describes.

    Parameters
    ----------
    values : mapping
        The section.
    pyramid : bool
        Whether the head turns its maps into a pyramid, which is the encoder's part here.
    norm_outputs : bool
        Whether the head sends each of its maps through a layer norm, which is the encoder's part here too.
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    record = find_backbone(BACKBONES, values["type"])
    if record is None:
        raise UnsupportedError(f"{where}: {_missing(values)}")
    try:
        encoder = record.translate(values)
    except UnsupportedError as error:
        raise UnsupportedError(f"{where}: {error}") from error
    head = {key: True for key, wanted in (("pyramid", pyramid), ("norm_outputs", norm_outputs)) if wanted}
    return replace(encoder, options={**encoder.options, **head})


def named_shape(names: Mapping[str, str], values: Config) -> str:
    """Return our name of an encoder by its `structure_type`, which also names the pretrained weights there.

    Raises
    ------
    UnsupportedError
        When vitrail has none.
    """
    if values["structure_type"] not in names:
        raise UnsupportedError(_missing(values))
    return names[values["structure_type"]]


def drop_path(values: Config) -> dict[str, Any]:
    """Return the option for stochastic depth, where a section gives it."""
    return {"drop_path_rate": values["drop_path_rate"]} if "drop_path_rate" in values else {}


def triples(count: int) -> Names:
    """Return the names of convolution, norm and activation, `count` times, all written in one sequence."""
    return {
        f"{3 * index + place}": f"{index}.{member}"
        for index in range(count)
        for place, member in enumerate(("conv", "bn"))
    }


def _missing(values: Config) -> str:
    return f"vitrail has no encoder like SSSegmentation's {values['type']} {values['structure_type']}"
