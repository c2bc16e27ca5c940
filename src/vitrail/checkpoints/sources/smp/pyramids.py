"""smp's FPN and PAN."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.smp.encoders import SmpEncoder
from vitrail.checkpoints.sources.smp.records import (
    ModelRecord,
    Translation,
    from_stride_four,
    interpolation,
    must_resize_by,
)

_LEVELS = 4  # of FPN's pyramid


def _last_four(strides: tuple[int, ...]) -> list[int]:
    return list(range(len(strides)))[-_LEVELS:]


def _fpn(settings: Settings, encoder: SmpEncoder) -> Translation:
    options = {
        "pyramid_channels": settings.take("decoder_pyramid_channels", 256),
        "channels": settings.take("decoder_segmentation_channels", 128),
        "merge": settings.take("decoder_merge_policy", "add"),
        "dropout": settings.take("decoder_dropout", 0.2),
        "interpolation": interpolation(settings),
    }
    must_resize_by(settings, encoder.strides[_last_four(encoder.strides)[0]], encoder)
    names: dict[str, Any] = {"decoder.p5": "head.laterals.3", "segmentation_head.0": "head.classifier"}
    names |= {f"decoder.p{level + 2}.skip_conv": f"head.laterals.{level}" for level in range(_LEVELS - 1)}
    names |= {
        f"decoder.seg_blocks.{_LEVELS - 1 - level}.block.*": (f"head.levels.{level}.*", {"block": ""})
        for level in range(_LEVELS)
    }
    return Translation(options, Renaming(names))


def _pan(settings: Settings, encoder: SmpEncoder) -> Translation:
    if interpolation(settings, "bilinear") != "bilinear":
        raise UnsupportedError(f"{settings.where}.decoder_interpolation is not bilinear")
    settings.must_be("upscale_mode", "bilinear")
    must_resize_by(settings, 4, encoder)
    attention: Names = {
        "branch1.1": "pooled.1",
        "mid.0": "project",
        "down1.1": "down.0",
        "down2.1": "down.1",
        "down3.1": "down.2.0",
        "down3.2": "down.2.1",
        "conv1": "lateral.0",
        "conv2": "lateral.1",
    }
    step: Names = {"conv1.1": "gate.1", "conv2": "project"}
    steps = len(from_stride_four(encoder.strides)) - 1
    names: dict[str, Any] = {"decoder.fpa": ("head.attention", attention), "segmentation_head.0": "head.classifier"}
    names |= {f"decoder.gau{steps - index}": (f"head.steps.{index}", step) for index in range(steps)}
    return Translation({"channels": settings.take("decoder_channels", 32)}, Renaming(names))


MODELS = {
    "FPN": ModelRecord("fpn", _fpn, reads=_last_four),
    "PAN": ModelRecord("pan", _pan, stride=16, reads=from_stride_four),
}
