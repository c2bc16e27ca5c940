"""transformers' MobileViT, MobileViTV2 and MobileNetV2 for semantic segmentation, all with a DeepLab head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.plain import as_lists, as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Change, Join, PartsLeftOut
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings
from vitrail.checkpoints.sources.transformers.encoders import TRANSFORMER_BLOCK, known
from vitrail.checkpoints.sources.transformers.records import ModelRecord, Translation

_CONV: Names = {"convolution": "conv", "normalization": "bn"}
_DEEPLAB: Names = {
    "segmentation_head.aspp.convs.4.conv_1x1": ("head.pyramid.pool.1", _CONV),
    **{f"segmentation_head.aspp.convs.{i}": (f"head.pyramid.branches.{i}", _CONV) for i in range(4)},
    "segmentation_head.aspp.project": ("head.pyramid.fuse", _CONV),
    "segmentation_head.classifier.convolution": "head.classifier",
}
_RESIDUAL: Names = {
    "expand_1x1": ("conv1_1x1", _CONV),
    "conv_3x3": ("conv2_kxk", _CONV),
    "reduce_1x1": ("conv3_1x1", _CONV),
}
_ATTENTION_V2: Names = {
    "attention.qkv_proj.convolution": "attn.qkv_proj",
    "attention.out_proj.convolution": "attn.out_proj",
    "ffn.conv1.convolution": "mlp.fc1",
    "ffn.conv2.convolution": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
# By the widths of the transformers and of the maps.
_MOBILEVITS = {
    ((144, 192, 240), (16, 32, 64, 96, 128, 160, 640)): "mobilevit_s",
    ((96, 120, 144), (16, 32, 48, 64, 80, 96, 384)): "mobilevit_xs",
    ((64, 80, 96), (16, 16, 24, 48, 64, 80, 320)): "mobilevit_xxs",
}
_WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
_MOBILENET_WIDTHS = {0.35: "035", 0.5: "050", 1.0: "100", 1.4: "140"}
_MOBILENET_STAGES = (2, 3, 4, 3, 3, 1)  # blocks, after the first


def _mobilevit_names(inside: str, attention: Names) -> Names:
    block: Names = {
        "conv_kxk": ("conv_kxk", _CONV),
        "conv_1x1.convolution": "conv_1x1",
        "transformer.layer.*": ("transformer.*", attention),
        "layernorm": "norm",
        "conv_projection": ("conv_proj", _CONV),
        "fusion": ("conv_fusion", _CONV),
    }
    names: dict[str, Any] = {
        f"{inside}.conv_stem": ("backbone.encoder.stem", _CONV),
        **{f"{inside}.encoder.layer.{i}.layer.*": (f"backbone.encoder.stages.{i}.*", _RESIDUAL) for i in range(2)},
    }
    for i in range(2, 5):
        names[f"{inside}.encoder.layer.{i}.downsampling_layer"] = (f"backbone.encoder.stages.{i}.0", _RESIDUAL)
        names[f"{inside}.encoder.layer.{i}"] = (f"backbone.encoder.stages.{i}.1", block)
    return {**names, **_DEEPLAB}


def _deeplab_options(settings: Settings, channels: int) -> dict[str, Any]:
    # two dropouts follow one another there, of elements and of channels: in training ours has the second
    settings.pass_over("aspp_dropout_prob")
    return {
        "channels": settings.take("aspp_out_channels", channels),
        "dilations": [1, *as_lists(settings.take("atrous_rates", (6, 12, 18)))],
        "fuse_kernel_size": 1,
        "dropout": settings.take("classifier_dropout_prob", 0.1),
    }


def _mobilevit_encoder(settings: Settings, name: str) -> Encoder:
    stride = settings.take("output_stride", 32)
    settings.must_be("hidden_act", "silu", "swish")
    settings.must_be("conv_kernel_size", 3)
    settings.must_be("patch_size", 2)
    settings.must_be("layer_norm_eps", 1e-5)
    settings.must_be("semantic_loss_ignore_index", 255)
    settings.pass_over("image_size", "hidden_dropout_prob", "attention_probs_dropout_prob")
    settings.pass_over("attn_dropout", "ffn_dropout")
    options: dict[str, Any] = {} if stride == 32 else {"dilate_blocks": False}
    options |= {} if name.startswith("mobilevitv2") else {"final_conv": False}
    return Encoder(name, None if stride == 32 else stride, options, settings.take("num_channels", 3))


def _mobilevit(settings: Settings) -> Translation:
    key = tuple(as_tuples(settings.take(name)) for name in ("hidden_sizes", "neck_hidden_sizes"))
    name = known(_MOBILEVITS, key, settings.where)
    settings.must_be("num_attention_heads", 4)
    settings.must_be("mlp_ratio", 2.0)
    settings.must_be("expand_ratio", 2.0 if name == "mobilevit_xxs" else 4.0)
    settings.must_be("qkv_bias", True)
    joins = tuple(Join([(f"attn.{x}.{kind}", 1) for x in "qkv"], f"attn.qkv.{kind}") for kind in ("weight", "bias"))
    renaming = Renaming(_mobilevit_names("mobilevit", TRANSFORMER_BLOCK), joins)
    encoder = _mobilevit_encoder(settings, name)
    auxiliary = {"weight": 0.0}
    return Translation("deeplabv3", encoder, renaming, _deeplab_options(settings, 256), auxiliary, resize_once=True)


def _mobilevitv2(settings: Settings) -> Translation:
    widths = {width: f"mobilevitv2_{round(100 * width):03d}" for width in _WIDTHS}
    name = known(widths, settings.take("width_multiplier", 1.0), settings.where)
    settings.must_be("n_attn_blocks", (2, 4, 3))
    settings.must_be("base_attn_unit_dims", (128, 192, 256))
    settings.must_be("ffn_multiplier", 2)
    settings.must_be("mlp_ratio", 2.0)
    settings.must_be("expand_ratio", 2.0)
    encoder = _mobilevit_encoder(settings, name)
    renaming = Renaming(_mobilevit_names("mobilevitv2", _ATTENTION_V2))
    auxiliary = {"weight": 0.0}
    return Translation("deeplabv3", encoder, renaming, _deeplab_options(settings, 512), auxiliary, resize_once=True)


def _mobilenet_names() -> Names:
    first = "backbone.encoder.blocks.0.0"
    names: dict[str, Any] = {}

    def add(theirs: str, convolution: str, norm: str) -> None:
        names[f"{theirs}.convolution"], names[f"{theirs}.normalization"] = convolution, norm

    add("mobilenet_v2.conv_stem.first_conv", "backbone.encoder.conv_stem", "backbone.encoder.bn1")
    add("mobilenet_v2.conv_stem.conv_3x3", f"{first}.conv_dw", f"{first}.bn1")
    add("mobilenet_v2.conv_stem.reduce_1x1", f"{first}.conv_pw", f"{first}.bn2")
    places = [(stage + 1, block) for stage, count in enumerate(_MOBILENET_STAGES) for block in range(count)]
    for index, (stage, block) in enumerate(places):
        theirs, ours = f"mobilenet_v2.layer.{index}", f"backbone.encoder.blocks.{stage}.{block}"
        add(f"{theirs}.expand_1x1", f"{ours}.conv_pw", f"{ours}.bn1")
        add(f"{theirs}.conv_3x3", f"{ours}.conv_dw", f"{ours}.bn2")
        add(f"{theirs}.reduce_1x1", f"{ours}.conv_pwl", f"{ours}.bn3")
    return {
        **names,
        "segmentation_head.conv_pool": ("head.pyramid.pool.1", _CONV),
        "segmentation_head.conv_aspp": ("head.pyramid.branches.0", _CONV),
        "segmentation_head.conv_projection": ("head.pyramid.fuse", _CONV),
        "segmentation_head.classifier.convolution": "head.classifier",
    }


def _halves_swapped(weight: Tensor) -> Tensor:
    return torch.cat(weight.chunk(2, dim=1)[::-1], dim=1)


def _mobilenet_v2(settings: Settings) -> Translation:
    width = known(_MOBILENET_WIDTHS, settings.take("depth_multiplier", 1.0), settings.where)
    stride = settings.take("output_stride", 32)
    settings.must_be("depth_divisible_by", 8)
    settings.must_be("min_depth", 8)
    settings.must_be("expand_ratio", 6.0)
    settings.must_be("first_layer_is_expansion", True)
    settings.must_be("hidden_act", "relu6")
    settings.must_be("tf_padding", True)
    settings.must_be("layer_norm_eps", 1e-3)
    settings.must_be("semantic_loss_ignore_index", 255)
    settings.pass_over("image_size", "finegrained_output")
    name = f"tf_mobilenetv2_{width}"
    encoder = Encoder(name, None if stride == 32 else stride, {}, settings.take("num_channels", 3))
    options = {
        "channels": 256,
        "dilations": [1],
        "fuse_kernel_size": 1,
        "dropout": settings.take("classifier_dropout_prob", 0.8),
    }
    swap = Change("head.pyramid.fuse.conv.weight", _halves_swapped, _halves_swapped)  # the pooled map comes first there
    renaming = Renaming(_mobilenet_names(), (swap,), (PartsLeftOut(("mobilenet_v2.conv_1x1.",)),))
    return Translation("deeplabv3", encoder, renaming, options, {"weight": 0.0}, resize_once=True)


MOBILEVIT = ModelRecord("MobileViTForSemanticSegmentation", _mobilevit)
MOBILEVIT_V2 = ModelRecord("MobileViTV2ForSemanticSegmentation", _mobilevitv2)
MOBILENET_V2 = ModelRecord("MobileNetV2ForSemanticSegmentation", _mobilenet_v2)
