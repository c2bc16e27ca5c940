"""Segmenter: a mask transformer on a plain transformer."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.encoders import ATTENTION, FEEDFORWARD
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.mmseg.losses import translate_losses
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming

RENAMING = Renaming(
    {
        "decode_head.dec_proj": "head.project",
        "decode_head.cls_emb": "head.class_tokens",
        "decode_head.layers.*": ("head.blocks.*", {"ln1": "norm1", "ln2": "norm2", **ATTENTION, **FEEDFORWARD}),
        "decode_head.decoder_norm": "head.norm",
        "decode_head.patch_proj": "head.pixel_projection",
        "decode_head.classes_proj": "head.class_projection",
        "decode_head.mask_norm": "head.logit_norm",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    settings = head.settings
    options = {
        "channels": settings.take("embed_dims"),
        "num_layers": settings.take("num_layers"),
        "num_heads": settings.take("num_heads"),
        "drop_path_rate": settings.take("drop_path_rate", 0.1),
        **({"align_corners": True} if head.align_corners else {}),
    }
    head.read_last_map(model.encoder)
    settings.must_be("mlp_ratio", 4)
    settings.must_be("num_fcs", 2)
    settings.must_be("qkv_bias", True)
    settings.must_be("drop_rate", 0.0)
    settings.must_be("attn_drop_rate", 0.0)
    settings.pass_over("init_std")
    head.finish()
    losses = translate_losses(head.losses, head.sampler, f"{head.where}.loss_decode")
    return Translation(model.encoder, head.num_classes, options, losses)


METHODS.add("segmenter", MethodRecord("SegmenterMaskTransformerHead", translate, RENAMING), module=__name__)
