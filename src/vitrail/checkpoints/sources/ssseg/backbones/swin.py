"""Swin Transformer."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.swin import RENAMING
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, drop_path, named_shape

_SHAPES = {
    "swin_tiny_patch4_window7_224": "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224": "swin_small_patch4_window7_224",
    "swin_base_patch4_window12_384_22k": "swin_base_patch4_window12_384.ms_in22k",
    "swin_large_patch4_window12_384_22k": "swin_large_patch4_window12_384.ms_in22k",
}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options=drop_path(values))


BACKBONES.add("swin", BackboneRecord(("SwinTransformer",), r"swin_\w+", translate, RENAMING), module=__name__)
