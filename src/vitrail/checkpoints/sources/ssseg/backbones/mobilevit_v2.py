"""The second version of MobileViT."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.backbones.mobilevit import INVERTED_RESIDUAL
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"mobilevitv2_050": "mobilevitv2_050", "mobilevitv2_100": "mobilevitv2_100"}
RENAMING = Renaming({"stem": "encoder.stem", "stages.*.*": ("encoder.stages.*.*", INVERTED_RESIDUAL)})


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values))


BACKBONES.add(
    "mobilevit_v2", BackboneRecord(("MobileViTV2",), r"mobilevitv2_\w+", translate, RENAMING), module=__name__
)
