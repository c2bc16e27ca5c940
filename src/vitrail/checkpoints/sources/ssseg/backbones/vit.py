"""Plain vision transformers."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.vit import renaming
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, Config, named_shape

_SHAPES = {"jx_vit_large_p16_384": "vit_large_patch16_384"}


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    options = {
        "interpolation": "bilinear",
        "img_size": as_lists(values["img_size"]),
        "out_indices": as_lists(values["out_indices"]),
    }
    if not values.get("with_cls_token", True):
        options["class_token"] = False
    return Encoder(named_shape(_SHAPES, values), options=options)


BACKBONES.add("vit", BackboneRecord(("VisionTransformer",), r"vit_\w+", translate, renaming), module=__name__)
