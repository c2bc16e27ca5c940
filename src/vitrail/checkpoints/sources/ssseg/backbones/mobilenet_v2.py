"""MobileNetV2."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.mobilenet_v2 import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"mobilenetv2": "mobilenetv2_100"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), values["outstride"])


BACKBONES.add(
    "mobilenet_v2", BackboneRecord(("MobileNetV2",), r"mobilenetv2_\w+", translate, RENAMING), module=__name__
)
