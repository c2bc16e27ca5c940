"""MaskFormer: a class and a mask for each of a set of queries."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_CONVOLUTION: Names = {"conv": "0", "gn": "1"}
_LAYER: Names = {
    "self_attn.attn": "self_attn",
    "cross_attn.attn": "cross_attn",
    "ffn.layers.0.0": "fc1",
    "ffn.layers.1": "fc2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "norms.2": "norm3",
}
RENAMING = Renaming(
    {
        "decode_head.pixel_decoder.last_feat_conv": ("head.pixel_decoder.deepest", _CONVOLUTION),
        # The pyramid is counted from the finest map there, from the coarsest here.
        **{
            f"decode_head.pixel_decoder.{theirs}.{i}": (f"head.pixel_decoder.{ours}.{2 - i}", _CONVOLUTION)
            for theirs, ours in (("lateral_convs", "laterals"), ("output_convs", "smooth"))
            for i in range(3)
        },
        "decode_head.pixel_decoder.mask_feature": "head.pixel_decoder.project",
        "decode_head.decoder_input_proj": "head.query_decoder.project",
        "decode_head.query_embed": "head.query_decoder.queries",
        "decode_head.transformer_decoder.post_norm": "head.query_decoder.norm",
        "decode_head.transformer_decoder.layers.*": ("head.query_decoder.layers.*", _LAYER),
        "decode_head.cls_embed": "head.classifier",
        **{f"decode_head.mask_embed.{2 * i}": f"head.mask_mlp.{i}" for i in range(3)},
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = Settings(model.decode_heads[0], f"{model.where}.decode_head")
    decoder = head.section("transformer_decoder")
    layer = decoder.section("layer_cfg")
    feedforward, attention = layer.section("ffn_cfg"), layer.section("self_attn_cfg")
    pixels = head.section("pixel_decoder")
    pixels.must_be("type", "mmdet.PixelDecoder")
    pixels.must_be("norm_cfg", {"type": "GN", "num_groups": 32})
    head.must_be("enforce_decoder_input_project", False)
    if head.take("positional_encoding") != {"num_feats": 128, "normalize": True}:
        raise UnsupportedError(f"{model.where}.decode_head has another encoding of positions")
    num_classes = head.take("num_classes")
    options = {
        "channels": head.take("feat_channels"),
        "mask_channels": head.take("out_channels"),
        "query_channels": feedforward.take("embed_dims"),
        "num_queries": head.take("num_queries"),
        "num_layers": decoder.take("num_layers"),
        "num_heads": attention.take("num_heads"),
        "feedforward_channels": feedforward.take("feedforward_channels"),
        "dropout": attention.take("attn_drop", 0.0),
        "class_weight": 1.0,
        "mask_weight": float(head.take("loss_mask")["loss_weight"]),
        "dice_weight": float(head.take("loss_dice")["loss_weight"]),
        "no_object_weight": head.take("loss_cls")["class_weight"][-1],
    }
    return Translation(model.encoder, num_classes, options, [{"name": "cross_entropy"}])


METHODS.add("maskformer", MethodRecord("MaskFormerHead", translate, RENAMING), module=__name__)
