"""transformers' EoMT, on DINOv2 and on DINOv3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.encoders import inverse, known, qkv
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

_SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}  # width, blocks, attention heads
# By whether there are four register tokens.
DINOV2 = {
    (*shape, registers): f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2"
    for size, shape in _SIZES.items()
    for registers in (True, False)
}
DINOV3 = {shape: f"vit_{size}_patch16_dinov3_qkvb" for size, shape in _SIZES.items()}
_EPS_DINOV3 = 1e-5  # of its layer norms, which transformers' EoMT may have otherwise
_HEAD: Arguments = {"num_queries": ("num_queries", 200), "num_blocks": ("num_blocks", 4), **POINT_LOSSES}
_QKV = qkv("attention", ("q_proj", "k_proj", "v_proj"))
_BLOCK: Names = {**_QKV[0], "attention.out_proj": "attn.proj", "attention": "attn"}
_BLOCK_DINOV2: Names = {**_BLOCK, "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma"}
QUERY_KEY_VALUE_DINOV3 = _QKV[1][:1]  # with one bias for all three there is none of keys
BLOCK_DINOV3: Names = {
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
    **{f"attention.{letter}_proj.weight": f"attn.{letter}.weight" for letter in "qkv"},
    "attention.o_proj": "attn.proj",
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
}
_REST: Names = {
    "embeddings.cls_token": "backbone.trunk.encoder.cls_token",
    "layernorm": "head.norm",
    "query": "head.query_tokens",
    "mask_head.fc1": "head.mask_mlp.0",
    "mask_head.fc2": "head.mask_mlp.2",
    "mask_head.fc3": "head.mask_mlp.4",
    "upscale_block.block.*": ("head.upscale.*", {"conv1": "0", "conv2": "2", "layernorm2d": "3"}),
    "class_predictor": "head.classifier",
    "attn_mask_probs": "head.mask_probability",
}


def _renaming(depth: int, left: int, block: Names, embeddings: Mapping[str, str], layouts: tuple[Any, ...]) -> Renaming:
    """Return the renaming of a model whose last `left` of `depth` blocks belong to the head."""
    places = [f"backbone.trunk.encoder.blocks.{index}" for index in range(depth - left)]
    places += [f"head.blocks.{index}" for index in range(left)]
    blocks: Names = {f"layers.{index}": (place, block) for index, place in enumerate(places)}
    ours = {f"embeddings.{theirs}": f"backbone.trunk.encoder.{name}" for theirs, name in embeddings.items()}
    return Renaming({**_REST, **ours, **blocks}, (*layouts, EMPTY_WEIGHT))


def _shared(settings: Settings) -> tuple[tuple[int, int, int], dict[str, Any], int]:
    """Return the shape of the encoder, the options of the head, and the side of a patch."""
    options = taken(settings, _HEAD)
    patch = settings.take("patch_size", 16)
    settings.must_be("num_upscale_blocks", max(1, int(math.log2(patch)) - 2))
    settings.must_be("hidden_act", "gelu")
    settings.pass_over("hidden_dropout_prob", "attention_dropout", "layerscale_value", "initializer_range")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    width, depth, heads = (settings.take(name) for name in names)
    return (width, depth, heads), options, patch


def _eomt(settings: Settings) -> Translation:
    shape, options, patch = _shared(settings)
    registers = settings.take("num_register_tokens", 4)
    if registers not in (0, 4):
        raise UnsupportedError(f"{settings.where}.num_register_tokens is {registers}: DINOv2 has four or none")
    settings.must_be("mlp_ratio", 4)
    settings.must_be("layer_norm_eps", 1e-6)
    settings.must_be("use_swiglu_ffn", False)
    encoder_options = {"img_size": settings.take("image_size"), "patch_size": patch}
    encoder_options["drop_path_rate"] = settings.take("drop_path_rate", 0.0)
    name = known(DINOV2, (*shape, registers > 0), settings.where)
    encoder = Encoder(name, None, encoder_options, settings.take("num_channels", 3))
    embeddings = {
        "patch_embeddings.projection": "patch_embed.proj",
        "position_embeddings.weight": "pos_embed",
        **({"register_tokens": "reg_token"} if registers else {}),
    }
    table = Change("pos_embed", lambda weight: weight[None], lambda weight: weight[0])
    renaming = _renaming(shape[1], options["num_blocks"], _BLOCK_DINOV2, embeddings, (*_QKV[1], table))
    return Translation("eomt", encoder, renaming, options)


def _eomt_dinov3(settings: Settings) -> Translation:
    shape, options, _ = _shared(settings)
    settings.must_be("num_register_tokens", 4)
    settings.must_be("intermediate_size", 4 * shape[0])
    settings.must_be("use_gated_mlp", False)
    for part, there in (("query", True), ("key", False), ("value", True), ("proj", True), ("mlp", True)):
        settings.must_be(f"{part}_bias", there)
    rotary = settings.take("rope_parameters", None) or {"rope_theta": settings.take("rope_theta", 100.0)}
    if float(rotary.get("rope_theta", 100.0)) != 100.0 or rotary.get("rope_type", "default") != "default":
        raise UnsupportedError(f"{settings.where}.rope_parameters is {rotary}, which vitrail does not compute")
    settings.pass_over("rope_theta", "default_theta")
    settings.pass_over("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale")  # random changes in training
    encoder_options = {
        "img_size": settings.take("image_size"),
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
    }
    eps = settings.take("layer_norm_eps", 1e-6)
    encoder_options |= {} if eps == _EPS_DINOV3 else {"layer_norm_eps": eps}
    encoder = Encoder(known(DINOV3, shape, settings.where), None, encoder_options, settings.take("num_channels", 3))
    embeddings = {"patch_embeddings": "patch_embed.proj", "register_tokens": "reg_token"}
    return Translation(
        "eomt", encoder, _renaming(shape[1], options["num_blocks"], BLOCK_DINOV3, embeddings, _QKV[1][:1]), options
    )


def _described(model: ModelConfig, shape: tuple[int, int, int]) -> dict[str, Any]:
    given_options = model.backbone_options
    if "img_size" not in given_options:
        raise UnsupportedError("transformers' EoMT has one size of images: give it as model.backbone_options.img_size")
    patch = given_options.get("patch_size") or (16 if "dinov3" in (model.backbone or "") else 14)
    return {
        **dict(zip(("hidden_size", "num_hidden_layers", "num_attention_heads"), shape, strict=True)),
        **given(model.options, _HEAD),
        "patch_size": patch,
        "image_size": given_options["img_size"],
        "num_upscale_blocks": max(1, int(math.log2(patch)) - 2),
        "num_channels": model.in_channels,
        "drop_path_rate": given_options.get("drop_path_rate") or 0.0,
    }


def _describe_eomt(model: ModelConfig) -> dict[str, Any]:
    width, depth, heads, registers = inverse(DINOV2, model.backbone or "", "transformers' EoMT")
    return {**_described(model, (width, depth, heads)), "num_register_tokens": 4 if registers else 0}


def _describe_eomt_dinov3(model: ModelConfig) -> dict[str, Any]:
    shape = inverse(DINOV3, model.backbone or "", "transformers' EoMT on DINOv3")
    eps = model.backbone_options.get("layer_norm_eps", _EPS_DINOV3)
    return {**_described(model, shape), "intermediate_size": 4 * shape[0], "layer_norm_eps": eps}


EOMT = ModelRecord(
    "EomtForUniversalSegmentation", _eomt, "eomt", _describe_eomt, "EomtImageProcessor", r"vit_\w+_dinov2"
)
EOMT_DINOV3 = ModelRecord(
    "EomtDinov3ForUniversalSegmentation",
    _eomt_dinov3,
    "eomt",
    _describe_eomt_dinov3,
    "EomtImageProcessor",
    r"vit_\w+_dinov3\w*",
)
