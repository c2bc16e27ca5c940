"""ERFNet."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.erfnet import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"erfnet": "erfnet"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    options: dict[str, Any] = {"downsample_bias": False, "norm_eps": 1e-5}
    if values.get("act_cfg", {}).get("type") == "PReLU":
        options["prelu"] = True
    return Encoder(named_shape(_SHAPES, values), options=options)


BACKBONES.add("erfnet", BackboneRecord(("ERFNet",), r"erfnet", translate, RENAMING), module=__name__)
