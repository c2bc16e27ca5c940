"""Mask2Former: queries that attend within the masks they predict."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.mmseg.methods.maskformer import loss_options, transformer_options
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_CONVOLUTION: Names = {"conv": "0", "gn": "1"}
_FEEDFORWARD: Names = {"ffn.layers.0.0": "fc1", "ffn.layers.1": "fc2"}
_ENCODER_LAYER: Names = {
    "self_attn.sampling_offsets": "attn.offsets",
    "self_attn.attention_weights": "attn.weights",
    "self_attn.value_proj": "attn.value",
    "self_attn.output_proj": "attn.project",
    **_FEEDFORWARD,
    "norms.0": "norm1",
    "norms.1": "norm2",
}
_DECODER_LAYER: Names = {
    "cross_attn.attn": "cross_attn",
    "self_attn.attn": "self_attn",
    **_FEEDFORWARD,
    "norms.0": "norm1",
    "norms.1": "norm2",
    "norms.2": "norm3",
}
RENAMING = Renaming(
    {
        "decode_head.pixel_decoder.input_convs.*": ("head.pixel_decoder.inputs.*", _CONVOLUTION),
        "decode_head.pixel_decoder.encoder.layers.*": ("head.pixel_decoder.encoder.layers.*", _ENCODER_LAYER),
        "decode_head.pixel_decoder.level_encoding.weight": "head.pixel_decoder.encoder.level_embedding",
        "decode_head.pixel_decoder.lateral_convs.*": ("head.pixel_decoder.fine.laterals.*", _CONVOLUTION),
        "decode_head.pixel_decoder.output_convs.*": ("head.pixel_decoder.fine.smooth.*", _CONVOLUTION),
        "decode_head.pixel_decoder.mask_feature": "head.pixel_decoder.fine.project",
        "decode_head.decoder_input_projs": "head.query_decoder.project",
        "decode_head.transformer_decoder.layers.*": ("head.query_decoder.layers.*", _DECODER_LAYER),
        "decode_head.transformer_decoder.post_norm": "head.query_decoder.norm",
        "decode_head.query_feat": "head.query_decoder.queries",
        "decode_head.query_embed": "head.query_decoder.query_position",
        "decode_head.level_embed": "head.query_decoder.level_embedding",
        "decode_head.cls_embed": "head.classifier",
        **{f"decode_head.mask_embed.{2 * i}": f"head.query_decoder.mask_mlp.{i}" for i in range(3)},
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = Settings(model.decode_heads[0], f"{model.where}.decode_head")
    num_classes = head.take("num_classes")
    options = {
        "channels": head.take("feat_channels"),
        "mask_channels": head.take("out_channels"),
        "num_queries": head.take("num_queries"),
        **transformer_options(head.section("transformer_decoder")),
        **loss_options(head, num_classes, focal=False),
    }
    # Masks are resized without this setting, and the heads of encoder and decoder have one number here.
    head.pass_over("align_corners")
    options |= _encoder_options(head.section("pixel_decoder"), options)
    options |= _sampling_options(head.section("train_cfg"), options) if head.peek("train_cfg") else {}
    head.must_be("num_transformer_feat_level", 3)
    head.must_be("strides", (4, 8, 16, 32))
    head.must_be("enforce_decoder_input_project", False)
    head.must_be("positional_encoding", {"num_feats": options["query_channels"] // 2, "normalize": True})
    head.must_be("in_index", (0, 1, 2, 3))
    head.must_be("ignore_index", 255)
    head.pass_over("type", "in_channels", "init_cfg", "train_cfg", "test_cfg")
    head.finish()
    return Translation(model.encoder, num_classes, options, [{"name": "cross_entropy"}])


def _encoder_options(pixels: Settings, options: dict[str, Any]) -> dict[str, Any]:
    encoder = pixels.section("encoder")
    layer = encoder.section("layer_cfg")
    attention, feedforward = layer.section("self_attn_cfg"), layer.section("ffn_cfg")
    found = {
        "encoder_layers": encoder.take("num_layers"),
        "encoder_feedforward_channels": feedforward.take("feedforward_channels"),
    }
    pixels.must_be("type", "mmdet.MSDeformAttnPixelDecoder")
    pixels.must_be("num_outs", 3)
    pixels.must_be("norm_cfg", {"type": "GN", "num_groups": 32})
    pixels.must_be("act_cfg", {"type": "ReLU"})
    pixels.must_be("positional_encoding", {"num_feats": options["channels"] // 2, "normalize": True})
    attention.must_be("num_heads", options["num_heads"])
    attention.must_be("num_levels", 3)
    attention.must_be("num_points", 4)
    attention.must_be("dropout", options["dropout"])
    attention.must_be("batch_first", True)
    attention.must_be("norm_cfg", None)
    attention.pass_over("im2col_step")
    feedforward.must_be("num_fcs", 2)
    feedforward.must_be("ffn_drop", options["dropout"])
    feedforward.must_be("act_cfg", {"type": "ReLU", "inplace": True}, {"type": "ReLU"})
    for part in (attention, feedforward):
        part.must_be("embed_dims", options["channels"])
    for part in (attention, feedforward, layer, encoder, pixels):
        part.pass_over("init_cfg")
        part.finish()
    return found


def _sampling_options(training: Settings, options: dict[str, Any]) -> dict[str, Any]:
    costs = {cost["type"]: cost["weight"] for cost in training.take("assigner")["match_costs"]}
    names = ("Classification", "CrossEntropyLoss", "Dice")
    weights = tuple(options[f"{name}_weight"] for name in ("class", "mask", "dice"))
    if costs != {f"mmdet.{name}Cost": weight for name, weight in zip(names, weights, strict=True)}:
        raise UnsupportedError(f"{training.where}.assigner weighs its costs differently from the losses")
    found = {
        "num_points": training.take("num_points"),
        "oversample": training.take("oversample_ratio"),
        "importance_ratio": training.take("importance_sample_ratio"),
    }
    training.pass_over("sampler")
    training.finish()
    return found


_OPTIMIZER_KEYS = {
    "query_feat": ("queries",),
    "query_embed": ("query_position",),
    "level_embed": ("level_embedding",),
}
METHODS.add(
    "mask2former",
    MethodRecord("Mask2FormerHead", translate, RENAMING, optimizer_keys=_OPTIMIZER_KEYS),
    module=__name__,
)
