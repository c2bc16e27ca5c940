"""transformers' OneFormer."""

from __future__ import annotations

import math
from typing import Any

from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.renaming import Names, Renaming, combine, under
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.encoders import ENCODERS, backbone_of, described_backbone
from vitrail.checkpoints.sources.transformers.queries import DEFORMABLE_PIXELS, TRANSFORMER, projections
from vitrail.checkpoints.sources.transformers.records import (
    EMPTY_WEIGHT,
    POINT_LOSSES,
    Arguments,
    ModelRecord,
    Translation,
    given,
    taken,
)
from vitrail.recipes import ModelConfig
from vitrail.segmentors.oneformer import TASK_LENGTH

_DECODER = f"{TRANSFORMER}.decoder"
_SELF = projections("self_attn.self_attn", "self_attn")
_LAYER: Names = {
    **_SELF[0],
    "cross_attn.multihead_attn": "cross_attn",
    "cross_attn.norm": "norm1",
    "self_attn.norm": "norm2",
    "ffn.linear1": "fc1",
    "ffn.linear2": "fc2",
    "ffn.norm": "norm3",
}
_NAMES: Names = {
    **DEFORMABLE_PIXELS,
    **{f"model.task_encoder.task_mlp.layers.{i}.0": f"head.task_mlp.{i}" for i in range(2)},
    f"{_DECODER}.query_input_projection": "head.task_queries.project",
    f"{_DECODER}.query_transformer.decoder.layers.*": (
        "head.task_queries.layers.*",
        {"multihead_attn": "cross_attn", "linear1": "fc1", "linear2": "fc2"},
    ),
    f"{_DECODER}.query_transformer.decoder.norm": "head.task_queries.norm",
    f"{TRANSFORMER}.queries_embedder": "head.query_decoder.query_position",
    f"{TRANSFORMER}.level_embed": "head.query_decoder.level_embedding",
    f"{_DECODER}.decoder_norm": "head.query_decoder.norm",
    f"{_DECODER}.class_embed": "head.classifier",
    **{f"{_DECODER}.mask_embed.layers.{i}.0": f"head.query_decoder.mask_mlp.{i}" for i in range(3)},
}
_LENGTH = {"text_encoder_context_length": TASK_LENGTH, "text_encoder_proj_layers": 2}
_TEXTS: Arguments = {
    "contrastive_weight": ("contrastive_weight", 0.5),
    "contrastive_temperature": ("initial_temperature", 0.07),
    "text_encoder_vocab_size": ("vocabulary_size", 49408),
    "text_encoder_num_layers": ("text_layers", 6),
    "text_encoder_n_ctx": ("num_contexts", 16),
}
_TEXT_HEAD = 64  # channels
_MAPPER = "model.text_mapper"
_TEXT_LAYER: Names = {
    "self_attn": "attn",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
_WITH_TEXTS = Renaming(
    {
        "criterion.logit_scale": "head.contrast.log_scale",
        f"{_MAPPER}.prompt_ctx": "head.texts.contexts",
        f"{_MAPPER}.text_encoder.token_embedding": "head.texts.encoder.tokens",
        f"{_MAPPER}.text_encoder.positional_embedding": "head.texts.encoder.positions",
        f"{_MAPPER}.text_encoder.transformer.layers.*": ("head.texts.encoder.layers.*", _TEXT_LAYER),
        f"{_MAPPER}.text_encoder.ln_final": "head.texts.encoder.norm",
        **{f"{_MAPPER}.text_projector.layers.{i}.0": f"head.texts.project.{i}" for i in range(2)},
    }
)
# Of the loss that compares queries with texts, which their models have without a text encoder, too.
_SCALE = OnlyTheirs("criterion.logit_scale", "head.classifier.bias", lambda bias: bias.new_tensor(-math.log(0.07)))
_WITHOUT_TEXTS = Renaming({}, (_SCALE,))
# The decoder that makes the queries has these projections as one tensor there, too.
_MASKED_LAYERS = under(f"{_DECODER}.layers", "head.query_decoder.layers", Renaming({"*": ("*", _LAYER)}, _SELF[1]))
_WHOLE = combine(Renaming(_NAMES, (EMPTY_WEIGHT,)), _MASKED_LAYERS)
_HEAD: Arguments = {
    "conv_dim": ("channels", 256),
    "encoder_layers": ("encoder_layers", 6),
    "encoder_feedforward_dim": ("encoder_feedforward_channels", 1024),
    "num_queries": ("num_queries", 150),
    "query_dec_layers": ("query_layers", 2),
    "dim_feedforward": ("feedforward_channels", 2048),
    "num_attention_heads": ("num_heads", 8),
    "dropout": ("dropout", 0.1),
    **POINT_LOSSES,
    "use_auxiliary_loss": ("deep_supervision", True),
}


def _oneformer(settings: Settings) -> Translation:
    kind, encoder = backbone_of(settings)
    options = taken(settings, _HEAD)
    options["num_layers"] = settings.take("decoder_layers", 10) - 1  # it counts the prediction before the first one
    for key in ("mask_dim", "hidden_dim"):
        if settings.take(key, 256) != options["channels"]:
            raise UnsupportedError(f"{settings.where}: {key} is not conv_dim, as in every published OneFormer")
    for key, value in (("pre_norm", False), ("enforce_input_proj", False), ("use_task_norm", True), ("norm", "GN")):
        settings.must_be(key, value)
    settings.must_be("common_stride", 4)
    settings.must_be("strides", (4, 8, 16, 32))
    settings.must_be("task_seq_len", TASK_LENGTH)
    settings.must_be("layer_norm_eps", 1e-5)
    settings.must_be("ignore_value", 255)
    settings.pass_over("output_auxiliary_logits", "hidden_size", "num_hidden_layers", "num_classes", "max_seq_len")
    texts = _texts(settings, options)
    encoder_names = under("model.pixel_level_module.encoder", "backbone", ENCODERS[kind].renaming)
    return Translation("oneformer", encoder, combine(_WHOLE, texts, encoder_names), options)


def _texts(settings: Settings, options: dict[str, Any]) -> Renaming:
    """Take what is said of the text encoder, and return its renaming; without one if it is not for training."""
    for key, value in _LENGTH.items():
        settings.must_be(key, value)
    found, width = taken(settings, _TEXTS), settings.take("text_encoder_width", 256)
    if not settings.take("is_training", False):
        return _WITHOUT_TEXTS
    if width != options["channels"]:
        raise UnsupportedError(f"{settings.where}: text_encoder_width is not conv_dim, as in every published OneFormer")
    if width < _TEXT_HEAD:
        raise UnsupportedError(
            f"{settings.where}: conv_dim is {width}, less than an attention head of the text encoder"
        )
    if not found["contrastive_weight"] > 0 or not found["num_contexts"]:
        raise UnsupportedError(f"{settings.where}: is_training without contrastive_weight or text_encoder_n_ctx")
    options |= {**found, "causal_text": False}
    return _WITH_TEXTS


def _describe_oneformer(model: ModelConfig) -> dict[str, Any]:
    texts = {"is_training": True, "text_encoder_width": model.options["channels"], **given(model.options, _TEXTS)}
    return {
        "backbone_config": described_backbone(model),
        **given(model.options, _HEAD),
        "mask_dim": model.options["channels"],
        "hidden_dim": model.options["channels"],
        "decoder_layers": model.options["num_layers"] + 1,
        **(texts if model.options["contrastive_weight"] else {}),
    }


ONEFORMER = ModelRecord(
    "OneFormerForUniversalSegmentation", _oneformer, "oneformer", _describe_oneformer, "OneFormerImageProcessor"
)
