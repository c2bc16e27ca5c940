"""Plain vision transformers (ViT, DeiT)."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import ZerosWhereMissing
from vitrail.checkpoints.sources.mmseg.encoders import (
    ATTENTION,
    BACKBONES,
    FEEDFORWARD,
    known_shape,
    plain_transformer_options,
    plain_transformer_shape,
)
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_SHAPES = {
    (192, 12, 3): "vit_tiny_patch16_224",
    (384, 12, 6): "vit_small_patch16_224",
    (768, 12, 12): "vit_base_patch16_224",
    (1024, 24, 16): "vit_large_patch16_224",
}
_PATCH_BIAS = "encoder.patch_embed.proj.bias"


def names(attention: Names) -> Names:
    """Return the names of a plain transformer whose blocks have these names for their attention."""
    return {
        "cls_token": "encoder.cls_token",
        "pos_embed": "encoder.pos_embed",
        "patch_embed.projection": "encoder.patch_embed.proj",
        "layers.*": ("encoder.blocks.*", {"ln1": "norm1", "ln2": "norm2", **attention, **FEEDFORWARD}),
        "ln1": "final_norm",
    }


# The first generation of MMSegmentation has the bias, the second by default not.
RENAMING = Renaming(names(ATTENTION), (ZerosWhereMissing(_PATCH_BIAS, "encoder.patch_embed.proj.weight"),))


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    shape = plain_transformer_shape(settings)
    name = known_shape(_SHAPES, shape, settings.where)
    options = plain_transformer_options(settings, shape[1])
    options["interpolation"] = settings.take("interpolate_mode", "bicubic")
    options["final_norm"] = settings.take("final_norm", False)
    settings.must_be("with_cls_token", True)
    settings.must_be("output_cls_token", False)
    settings.must_be("qkv_bias", True)
    settings.must_be("pre_norm", False)
    settings.must_be("out_origin", False)
    settings.must_be("patch_pad", "corner")
    settings.pass_over("patch_bias")  # a file without it has it as zeros
    order = tuple(range(len(options["out_indices"])))
    return Encoder(name, None, options, settings.take("in_channels", 3), order, takes_neck=True)


BACKBONES.add("vit", BackboneRecord(("VisionTransformer",), r"vit_\w+", translate, RENAMING), module=__name__)
