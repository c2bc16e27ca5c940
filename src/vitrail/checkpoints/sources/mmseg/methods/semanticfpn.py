"""Semantic FPN: a feature pyramid whose levels are enlarged and added."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    pyramid_channels,
    translation,
)
from vitrail.checkpoints.sources.mmseg.methods.pointrend import PYRAMID, scale_heads
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming

RENAMING = Renaming({**PYRAMID, **scale_heads("decode_head"), "decode_head.conv_seg": "head.classifier"})


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.settings.must_be("feature_strides", (4, 8, 16, 32))
    options = {"pyramid_channels": pyramid_channels(model), "channels": head.channels, "norm": False}
    head.finish()
    return translation(head, model.encoder_below_neck, options)


METHODS.add("semanticfpn", MethodRecord("FPNHead", translate, RENAMING), module=__name__)
