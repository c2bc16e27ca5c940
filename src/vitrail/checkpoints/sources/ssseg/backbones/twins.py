"""Twins, of both kinds: PCPVT and SVT."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.twins import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {f"{kind}_{size}": f"twins_{kind}_{size}" for kind in ("pcpvt", "svt") for size in ("small", "base", "large")}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options=drop_path(values))


BACKBONES.add("twins", BackboneRecord(("PCPVT", "SVT"), r"twins_\w+", translate, RENAMING), module=__name__)
