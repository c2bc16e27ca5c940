"""Mask2Former: queries that attend within the masks they predict."""

from __future__ import annotations

from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options
from vitrail.checkpoints.sources.ssseg.methods.maskformer import class_weights

_ENCODER_LAYER: Names = {
    "self_attn.sampling_offsets": "attn.offsets",
    "self_attn.attention_weights": "attn.weights",
    "self_attn.value_proj": "attn.value",
    "self_attn.output_proj": "attn.project",
    "linear1": "fc1",
    "linear2": "fc2",
}
_PARTS: Names = {
    "transformer_cross_attention_layers.*.multihead_attn": "layers.*.cross_attn",
    "transformer_cross_attention_layers.*.norm": "layers.*.norm1",
    "transformer_self_attention_layers.*.self_attn": "layers.*.self_attn",
    "transformer_self_attention_layers.*.norm": "layers.*.norm2",
    "transformer_ffn_layers.*.linear1": "layers.*.fc1",
    "transformer_ffn_layers.*.linear2": "layers.*.fc2",
    "transformer_ffn_layers.*.norm": "layers.*.norm3",
    "decoder_norm": "norm",
    "query_feat": "queries",
    "query_embed": "query_position",
    "level_embed": "level_embedding",
    "input_proj": "project",
    "mask_embed.layers": "mask_mlp",
}
RENAMING = Renaming(
    {
        "pixel_decoder.input_proj": "head.pixel_decoder.inputs",
        "pixel_decoder.transformer.level_embed": "head.pixel_decoder.encoder.level_embedding",
        "pixel_decoder.transformer.encoder.layers.*": ("head.pixel_decoder.encoder.layers.*", _ENCODER_LAYER),
        "pixel_decoder.lateral_convs": "head.pixel_decoder.fine.laterals",
        "pixel_decoder.output_convs": "head.pixel_decoder.fine.smooth",
        "pixel_decoder.mask_features": "head.pixel_decoder.fine.project",
        "predictor": ("head.query_decoder", _PARTS),
        "predictor.class_embed": "head.classifier",
    },
    (OnlyTheirs("criterion.empty_weight", "head.classifier.bias", class_weights),),
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    pixels, predictor, matcher, criterion = (
        head[name] for name in ("pixel_decoder", "predictor", "matcher", "criterion")
    )
    sampling = criterion["pixelsampler_cfg"]
    shared = {
        "transformer_nheads": predictor["nheads"],
        "transformer_in_features": ["res3", "res4", "res5"],
        "common_stride": 4,
        "mask_dim": predictor["mask_dim"],
        "conv_dim": predictor["in_channels"],
    }
    if any(pixels[name] != value for name, value in shared.items()) or any(
        predictor[name] for name in ("pre_norm", "enforce_input_project")
    ):
        raise UnsupportedError("vitrail has no Mask2Former like this one of SSSegmentation")
    if pixels["transformer_dropout"] != 0 or matcher["num_points"] != sampling["num_points"]:
        raise UnsupportedError("vitrail's Mask2Former has one rate of dropout and one number of points")
    options = {
        "channels": pixels["conv_dim"],
        "mask_channels": pixels["mask_dim"],
        "encoder_layers": pixels["transformer_enc_layers"],
        "encoder_feedforward_channels": pixels["transformer_dim_feedforward"],
        "query_channels": predictor["hidden_dim"],
        "num_queries": predictor["num_queries"],
        "num_layers": predictor["dec_layers"] - 1,  # it counts the prediction before the first one
        "feedforward_channels": predictor["dim_feedforward"],
        "num_heads": predictor["nheads"],
        "dropout": pixels["transformer_dropout"],
        "num_points": sampling["num_points"],
        "oversample": sampling["oversample_ratio"],
        "importance_ratio": sampling["importance_sample_ratio"],
        "class_weight": matcher["cost_class"],
        "mask_weight": matcher["cost_mask"],
        "dice_weight": matcher["cost_dice"],
        "no_object_weight": criterion["eos_coef"],
        "deep_supervision": head["deep_supervision"],
    }
    return options, {}


METHODS.add("mask2former", MethodRecord("Mask2Former", translate, RENAMING), module=__name__)
