"""ResNeSt."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.resnest import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"resnest101": "resnest101e"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), values["outstride"])


BACKBONES.add("resnest", BackboneRecord(("ResNeSt",), r"resnest\w+", translate, RENAMING), module=__name__)
