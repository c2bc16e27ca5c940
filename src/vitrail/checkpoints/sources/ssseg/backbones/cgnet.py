"""CGNet's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.cgnet import names
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"cgnetm3n21": "cgnet_m3n21"}
RENAMING = Renaming(names({"0": "conv", "1": "norm", "2": "act"}))


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"norm_eps": 1e-5})


BACKBONES.add("cgnet", BackboneRecord(("CGNet",), r"cgnet_\w+", translate, RENAMING), module=__name__)
