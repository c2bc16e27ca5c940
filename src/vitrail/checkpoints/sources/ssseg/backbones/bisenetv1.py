"""BiSeNetV1's encoder: a spatial path, and a context path over a ResNet with a deep stem."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.bisenetv1 import names
from vitrail.checkpoints.sources.mmseg.backbones.resnet import DEEP_STEM
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, CONV_NORM, POOLED, Config, named_shape
from vitrail.recipes import ModelConfig

_SHAPES = {"bisenetv1": "bisenetv1_resnet18"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"deep_stem": True})


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the stem of the ResNet."""
    stem = DEEP_STEM if model.backbone_options.get("deep_stem") else {}
    return Renaming(names("backbone_net", stem, CONV_NORM, POOLED, CONV_NORM))


BACKBONES.add("bisenetv1", BackboneRecord(("BiSeNetV1",), r"bisenetv1_\w+", translate, renaming), module=__name__)
