"""ConvNeXt."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.convnext import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {
    "convnext_tiny": "convnext_tiny.fb_in1k",
    "convnext_small": "convnext_small.fb_in1k",
    "convnext_base": "convnext_base.fb_in1k",
    "convnext_base_21k": "convnext_base.fb_in22k",
    "convnext_large_21k": "convnext_large.fb_in22k",
    "convnext_xlarge_21k": "convnext_xlarge.fb_in22k",
}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options=drop_path(values))


BACKBONES.add("convnext", BackboneRecord(("ConvNeXt",), r"convnext_\w+", translate, RENAMING), module=__name__)
