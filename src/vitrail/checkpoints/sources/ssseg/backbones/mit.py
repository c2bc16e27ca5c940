"""Mix Transformer, the encoder of SegFormer."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.mit import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {f"mit-b{size}": f"mit_b{size}" for size in range(6)}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options=drop_path(values))


BACKBONES.add("mit", BackboneRecord(("MixVisionTransformer",), r"mit_b\d", translate, RENAMING), module=__name__)
