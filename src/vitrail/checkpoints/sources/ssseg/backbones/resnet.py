"""ResNet; its stem of three 3 × 3 convolutions makes a name of its own."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.resnet import renaming
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {
    "resnet18conv3x3stem": "resnet18c",
    "resnet50conv3x3stem": "resnet50c",
    "resnet101conv3x3stem": "resnet101c",
}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), values["outstride"])


BACKBONES.add("resnet", BackboneRecord(("ResNet",), r"resnet\d+[cds]?", translate, renaming), module=__name__)
