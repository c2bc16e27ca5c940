"""SegFormer: every map projected, joined, classified."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, head_renaming, translation
from vitrail.checkpoints.sources.records import MethodRecord

RENAMING = head_renaming({"convs": "projections", "fusion_conv": "fuse"})


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.settings.must_be("interpolate_mode", "bilinear")
    head.finish()
    return translation(head, model.encoder, {"channels": head.channels})


METHODS.add("segformer", MethodRecord("SegformerHead", translate, RENAMING), module=__name__)
