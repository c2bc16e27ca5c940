"""HRNet, whose maps are joined."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.hrnet import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {
    "hrnetv2_w18_small": "hrnet_w18_small_v2.ms_in1k",
    "hrnetv2_w18": "hrnet_w18.ms_in1k",
    "hrnetv2_w48": "hrnet_w48",
}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"concat": True})


BACKBONES.add("hrnet", BackboneRecord(("HRNet",), r"hrnet_w\w+", translate, RENAMING), module=__name__)
