"""transformers' architectures of semantic segmentation: their configurations and the names of their tensors.

Each configuration is read by a function `_<model>` and written by `_describe_<model>`; `written_config` in `source.py`
checks that what is written is read as the same model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, as_convolution, as_matrix
from vitrail.checkpoints.sources.renaming import Names, Renaming, combine, under
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.beit import plain_upernet
from vitrail.checkpoints.sources.transformers.dpt import DPT
from vitrail.checkpoints.sources.transformers.encoders import (
    ENCODERS,
    backbone_of,
    described_backbone,
    inverse,
    known,
    qkv,
)
from vitrail.checkpoints.sources.transformers.eomt import EOMT, EOMT_DINOV3
from vitrail.checkpoints.sources.transformers.mobile import MOBILENET_V2, MOBILEVIT, MOBILEVIT_V2
from vitrail.checkpoints.sources.transformers.oneformer import ONEFORMER
from vitrail.checkpoints.sources.transformers.queries import DEFORMABLE_PIXELS, PIXELS, TRANSFORMER, projections
from vitrail.checkpoints.sources.transformers.records import (
    EMPTY_WEIGHT,
    POINT_LOSSES,
    Arguments,
    ModelRecord,
    Translation,
    given,
    taken,
)
from vitrail.checkpoints.sources.transformers.settings import settings_of
from vitrail.checkpoints.sources.transformers.upernet import UPERNET, upernet_heads
from vitrail.recipes import ModelConfig

# --- SegFormer ------------------------------------------------------------------------------------------------------
_MITS = {
    (32, (2, 2, 2, 2)): "mit_b0",
    (64, (2, 2, 2, 2)): "mit_b1",
    (64, (3, 4, 6, 3)): "mit_b2",
    (64, (3, 4, 18, 3)): "mit_b3",
    (64, (3, 8, 27, 3)): "mit_b4",
    (64, (3, 6, 40, 3)): "mit_b5",
}
_MIT_QKV = qkv("attention.self", ("query", "key", "value"))
_MIT_BLOCK: Names = {
    **_MIT_QKV[0],
    "attention.self.sr": "attn.shrink",
    "attention.self.layer_norm": "attn.norm",
    "attention.output.dense": "attn.proj",
    "layer_norm_1": "norm1",
    "layer_norm_2": "norm2",
    "mlp.dense1": "mlp.fc1",
    "mlp.dense2": "mlp.fc2",
    "mlp.dwconv.dwconv": "mlp.conv",
}


def reverse_maps(weight: Tensor) -> Tensor:
    """Turn round the order of the four maps that a convolution [D, 4 C, 1, 1] fuses."""
    return torch.cat(weight.chunk(4, dim=1)[::-1], dim=1)


SEGFORMER = Renaming(
    {
        "segformer.encoder.patch_embeddings.*": ("backbone.stages.*.embed", {"layer_norm": "norm"}),
        "segformer.encoder.block.*.*": ("backbone.stages.*.blocks.*", _MIT_BLOCK),
        "segformer.encoder.layer_norm.*": "backbone.stages.*.norm",
        "decode_head.linear_c.*.proj": "head.projections.*",
        "decode_head.linear_fuse": "head.fuse.conv",
        "decode_head.batch_norm": "head.fuse.bn",
        "decode_head.classifier": "head.classifier",
    },
    (
        *_MIT_QKV[1],
        *(Change(f"projections.{i}.weight", as_convolution, as_matrix) for i in range(4)),
        Change("head.fuse.conv.weight", reverse_maps, reverse_maps),
    ),
)


def _segformer(settings: Settings) -> Translation:
    widths, depths = as_tuples(settings.take("hidden_sizes")), as_tuples(settings.take("depths"))
    if widths != tuple(widths[0] * factor for factor in (1, 2, 5, 8)):
        raise UnsupportedError(f"{settings.where}.hidden_sizes is {widths}, which no MiT of vitrail has")
    name = known(_MITS, (widths[0], depths), settings.where)
    settings.must_be("num_attention_heads", (1, 2, 5, 8))
    settings.must_be("patch_sizes", (7, 3, 3, 3))
    settings.must_be("strides", (4, 2, 2, 2))
    settings.must_be("sr_ratios", (8, 4, 2, 1))
    settings.must_be("mlp_ratios", (4, 4, 4, 4))
    settings.must_be("num_encoder_blocks", 4)
    settings.must_be("hidden_act", "gelu")
    settings.must_be("reshape_last_stage", True)
    settings.must_be("semantic_loss_ignore_index", 255)
    settings.pass_over("downsampling_rates", "image_size", "layer_norm_eps")
    settings.pass_over("hidden_dropout_prob", "attention_probs_dropout_prob")
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.1)}
    encoder = Encoder(name, None, options, settings.take("num_channels", 3))
    head = {
        "channels": settings.take("decoder_hidden_size"),
        "linear_projection": True,
        "dropout": settings.take("classifier_dropout_prob", settings.take("classifier_dropout", 0.1)),
    }
    return Translation("segformer", encoder, SEGFORMER, head, resize_once=True)


def _describe_segformer(model: ModelConfig) -> dict[str, Any]:
    width, depths = inverse(_MITS, model.backbone or "", "transformers' SegFormer")
    described = {
        "num_channels": model.in_channels,
        "hidden_sizes": [width * factor for factor in (1, 2, 5, 8)],
        "depths": list(depths),
        "decoder_hidden_size": model.options["channels"],
        "classifier_dropout_prob": model.options["dropout"],
    }
    rate = model.backbone_options.get("drop_path_rate")
    return described if rate is None else {**described, "drop_path_rate": rate}


# --- MaskFormer and Mask2Former -------------------------------------------------------------------------------------
_SELF, _CROSS = projections("self_attn", "self_attn"), projections("encoder_attn", "cross_attn")
_MASKFORMER_LAYER: Names = {
    **_SELF[0],
    **_CROSS[0],
    "self_attn_layer_norm": "norm1",
    "encoder_attn_layer_norm": "norm2",
    "final_layer_norm": "norm3",
}
MASKFORMER = Renaming(
    {
        f"{PIXELS}.fpn.stem": "head.pixel_decoder.deepest",
        f"{PIXELS}.fpn.layers.*.proj": "head.pixel_decoder.laterals.*",
        f"{PIXELS}.fpn.layers.*.block": "head.pixel_decoder.smooth.*",
        f"{PIXELS}.mask_projection": "head.pixel_decoder.project",
        f"{TRANSFORMER}.queries_embedder": "head.query_decoder.queries",
        f"{TRANSFORMER}.input_projection": "head.query_decoder.project",
        f"{TRANSFORMER}.decoder.layers.*": ("head.query_decoder.layers.*", _MASKFORMER_LAYER),
        f"{TRANSFORMER}.decoder.layernorm": "head.query_decoder.norm",
        "class_predictor": "head.classifier",
        **{f"mask_embedder.{i}.0": f"head.mask_mlp.{i}" for i in range(3)},
    },
    (*_SELF[1], *_CROSS[1], EMPTY_WEIGHT),
)
_MASKED_LAYER: Names = {
    **_SELF[0],
    "cross_attn_layer_norm": "norm1",
    "self_attn_layer_norm": "norm2",
    "final_layer_norm": "norm3",
}
MASK2FORMER = Renaming(
    {
        **DEFORMABLE_PIXELS,
        f"{TRANSFORMER}.queries_features": "head.query_decoder.queries",
        f"{TRANSFORMER}.queries_embedder": "head.query_decoder.query_position",
        f"{TRANSFORMER}.level_embed": "head.query_decoder.level_embedding",
        f"{TRANSFORMER}.input_projections": "head.query_decoder.project",
        f"{TRANSFORMER}.decoder.layers.*": ("head.query_decoder.layers.*", _MASKED_LAYER),
        f"{TRANSFORMER}.decoder.layernorm": "head.query_decoder.norm",
        "class_predictor": "head.classifier",
        **{
            f"{TRANSFORMER}.decoder.mask_predictor.mask_embedder.{i}.0": f"head.query_decoder.mask_mlp.{i}"
            for i in range(3)
        },
    },
    (*_SELF[1], EMPTY_WEIGHT),
)


_MASKFORMER_HEAD: Arguments = {
    "fpn_feature_size": ("channels", None),
    "mask_feature_size": ("mask_channels", None),
    "cross_entropy_weight": ("class_weight", 1.0),
    "mask_weight": ("mask_weight", 20.0),
    "dice_weight": ("dice_weight", 1.0),
    "no_object_weight": ("no_object_weight", 0.1),
    "use_auxiliary_loss": ("deep_supervision", False),
}
_MASKFORMER_DECODER: Arguments = {
    "d_model": ("query_channels", None),
    "num_queries": ("num_queries", None),
    "decoder_layers": ("num_layers", None),
    "decoder_attention_heads": ("num_heads", None),
    "decoder_ffn_dim": ("feedforward_channels", None),
    "dropout": ("dropout", 0.1),
}
_MASK2FORMER_HEAD: Arguments = {
    "feature_size": ("channels", None),
    "mask_feature_size": ("mask_channels", None),
    "encoder_layers": ("encoder_layers", 6),
    "encoder_feedforward_dim": ("encoder_feedforward_channels", None),
    "hidden_dim": ("query_channels", None),
    "num_queries": ("num_queries", None),
    "dim_feedforward": ("feedforward_channels", None),
    "num_attention_heads": ("num_heads", None),
    "dropout": ("dropout", 0.0),
    **POINT_LOSSES,
    "use_auxiliary_loss": ("deep_supervision", True),
}


def _maskformer(settings: Settings) -> Translation:
    kind, encoder = backbone_of(settings)
    decoder = settings_of(settings.take("decoder_config"), f"{settings.where}.decoder_config")
    options = {**taken(settings, _MASKFORMER_HEAD), **taken(decoder, _MASKFORMER_DECODER)}
    decoder.must_be("activation_function", "relu")
    decoder.must_be("model_type", "detr")
    # The rest of it is about DETR's own encoder and losses, of which MaskFormer has none.
    settings.pass_over("output_auxiliary_logits", "num_attention_heads", "num_hidden_layers")
    renaming = combine(MASKFORMER, under("model.pixel_level_module.encoder", "backbone", ENCODERS[kind].renaming))
    return Translation("maskformer", encoder, renaming, options)


def _describe_maskformer(model: ModelConfig) -> dict[str, Any]:
    decoder = {"model_type": "detr", "activation_function": "relu", **given(model.options, _MASKFORMER_DECODER)}
    return {
        "backbone_config": described_backbone(model),
        "decoder_config": decoder,
        **given(model.options, _MASKFORMER_HEAD),
        "use_auxiliary_loss": False,  # with it transformers 5 fails unless all hidden states are asked for
    }


def _mask2former(settings: Settings) -> Translation:
    kind, encoder = backbone_of(settings)
    options = taken(settings, _MASK2FORMER_HEAD)
    options["num_layers"] = settings.take("decoder_layers") - 1  # it counts the prediction before the first one
    settings.must_be("pre_norm", False)
    settings.must_be("enforce_input_projection", False)
    settings.must_be("common_stride", 4)
    settings.must_be("feature_strides", (4, 8, 16, 32))
    settings.must_be("activation_function", "relu")
    settings.must_be("ignore_value", 255)
    settings.pass_over("output_auxiliary_logits", "hidden_size", "num_hidden_layers")
    renaming = combine(MASK2FORMER, under("model.pixel_level_module.encoder", "backbone", ENCODERS[kind].renaming))
    return Translation("mask2former", encoder, renaming, options)


def _describe_mask2former(model: ModelConfig) -> dict[str, Any]:
    described = {"backbone_config": described_backbone(model), **given(model.options, _MASK2FORMER_HEAD)}
    return {**described, "decoder_layers": model.options["num_layers"] + 1}


MODELS: dict[str, ModelRecord] = {
    "segformer": ModelRecord(
        "SegformerForSemanticSegmentation", _segformer, "segformer", _describe_segformer, "SegformerImageProcessor"
    ),
    "upernet": UPERNET,
    "maskformer": ModelRecord(
        "MaskFormerForInstanceSegmentation",
        _maskformer,
        "maskformer",
        _describe_maskformer,
        "MaskFormerImageProcessor",
    ),
    "mask2former": ModelRecord(
        "Mask2FormerForUniversalSegmentation",
        _mask2former,
        "mask2former",
        _describe_mask2former,
        "Mask2FormerImageProcessor",
    ),
    "oneformer": ONEFORMER,
    "beit": ModelRecord("BeitForSemanticSegmentation", plain_upernet("beit", upernet_heads({}))),
    "data2vec-vision": ModelRecord(
        "Data2VecVisionForSemanticSegmentation",
        plain_upernet(
            "data2vec_vision",
            upernet_heads(
                {"convolution": "conv", "normalization": "bn"}, "psp_modules.blocks.*.conv", "psp_bottleneck"
            ),
        ),
    ),
    "dpt": DPT,
    "mobilevit": MOBILEVIT,
    "mobilevitv2": MOBILEVIT_V2,
    "mobilenet_v2": MOBILENET_V2,
    "eomt": EOMT,
    "eomt_dinov3": EOMT_DINOV3,
}
