"""Fast-SCNN's encoder, with activations after its depthwise convolutions too."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.fastscnn import names
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, CONV_NORM, SEPARABLE, Config, named_shape

_SHAPES = {"fastscnn": "fastscnn"}
RENAMING = Renaming(names(SEPARABLE, CONV_NORM, {"1": "1.conv", "2": "1.bn"}))


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"depthwise_act": True})


BACKBONES.add("fastscnn", BackboneRecord(("FastSCNN",), r"fastscnn", translate, RENAMING), module=__name__)
