"""transformers' encoders: their configurations and the names of their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vitrail.checkpoints.plain import as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.layouts import Join, LeftOut, OnlyTheirs, window_positions
from vitrail.checkpoints.sources.renaming import Layout, Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.checkpoints.sources.transformers.settings import FOUR_STAGES, settings_of, take_four_maps
from vitrail.recipes import ModelConfig

TRANSFORMER_BLOCK: Names = {  # of those that are named as in transformers' ViT
    **{
        f"attention.attention.{name}.{kind}": f"attn.{name[0]}.{kind}"
        for name in ("query", "key", "value")
        for kind in ("weight", "bias")
    },
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
_SWINS = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
_CONVNEXTS = {
    (96, (3, 3, 9, 3)): "convnext_tiny",
    (96, (3, 3, 27, 3)): "convnext_small",
    (128, (3, 3, 27, 3)): "convnext_base",
    (192, (3, 3, 27, 3)): "convnext_large",
    (256, (3, 3, 27, 3)): "convnext_xlarge",
}
_RESNETS = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
}


@dataclass(frozen=True)
class EncoderRecord:
    """An encoder of transformers.

    Attributes
    ----------
    translate : callable
        From its configuration to our name and options.
    renaming : Renaming
        From the names of its tensors to ours, below `backbone.`.
    names : str
        A regular expression for our names, without the tag of pretrained weights.
    describe : callable
        From our name to its configuration, without `model_type`.
    """

    translate: Callable[[Settings], Encoder]
    renaming: Renaming
    names: str
    describe: Callable[[str], dict[str, Any]]


def qkv(theirs: str, names: tuple[str, str, str]) -> tuple[Names, tuple[Join, ...]]:
    """Return the names of three projections, and the layouts that put them one below the other as `attn.qkv`."""
    parts = {f"{theirs}.{name}": f"attn.{letter}" for name, letter in zip(names, "qkv", strict=True)}
    layouts = tuple(
        Join([(f"attn.{letter}.{kind}", 1) for letter in "qkv"], f"attn.qkv.{kind}") for kind in ("weight", "bias")
    )
    return parts, layouts


_QUERY_KEY_VALUE = qkv("attention.self", ("query", "key", "value"))
_BLOCK: Names = {
    **_QUERY_KEY_VALUE[0],
    "attention.self": "attn",
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def swin_renaming(inside: str, norms: Sequence[str], unused: str, positions: Layout) -> Renaming:
    """Return the renaming of a Swin.

    Parameters
    ----------
    inside : str
        What stands before the names of its own modules.
    norms : sequence of str
        What the norms of its maps are called.
    unused : str
        A norm that it has and never applies.
    positions : Layout
        How it keeps the rows of the table of position biases.
    """
    return Renaming(
        {
            f"{inside}embeddings.patch_embeddings.projection": "encoder.patch_embed.proj",
            f"{inside}embeddings.norm": "encoder.patch_embed.norm",
            f"{inside}encoder.layers.*.blocks.*": ("encoder.layers.*.blocks.*", _BLOCK),
            # There a stage ends with the merging of patches, here the next one begins with it.
            **{f"{inside}encoder.layers.{i}.downsample": f"encoder.layers.{i + 1}.downsample" for i in range(3)},
            **{f"hidden_states_norms.{name}": f"norms.{i}" for i, name in enumerate(norms)},
        },
        (*_QUERY_KEY_VALUE[1], positions),
        (
            OnlyTheirs(f"{unused}.weight", f"hidden_states_norms.{norms[-1]}.weight", torch.ones_like),
            OnlyTheirs(f"{unused}.bias", f"hidden_states_norms.{norms[-1]}.bias", torch.zeros_like),
        ),
    )


_ROWS = "relative_position_index"
_SWIN = swin_renaming("", FOUR_STAGES, "swin.layernorm", LeftOut((_ROWS,)))  # transformers 5 computes the rows
_MASKFORMER_SWIN = swin_renaming(
    "model.", "0123", "model.layernorm", OnlyTheirs(_ROWS, "relative_position_bias_table", window_positions)
)


def _swin(settings: Settings) -> Encoder:
    width = settings.take("embed_dim")
    key = (width, as_tuples(settings.take("depths")), settings.take("window_size"))
    settings.must_be("num_heads", tuple(width // 32 * 2**i for i in range(4)))
    settings.must_be("patch_size", 4)
    settings.must_be("mlp_ratio", 4.0)
    settings.must_be("qkv_bias", True)
    settings.must_be("use_absolute_embeddings", False)
    settings.must_be("hidden_act", "gelu")
    settings.must_be("layer_norm_eps", 1e-5)
    settings.pass_over("hidden_size", "image_size", "encoder_stride", "num_layers", "path_norm")
    _without_dropout(settings)
    take_four_maps(settings)
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.1)}
    return Encoder(known(_SWINS, key, settings.where), None, options, settings.take("num_channels", 3))


def _describe_swin(name: str) -> dict[str, Any]:
    width, depths, window = inverse(_SWINS, name, "transformers' Swin")
    return {
        "embed_dim": width,
        "depths": list(depths),
        "num_heads": [width // 32 * 2**i for i in range(4)],
        "window_size": window,
    }


def _convnext(settings: Settings) -> Encoder:
    widths = as_tuples(settings.take("hidden_sizes"))
    if widths != tuple(widths[0] * 2**i for i in range(4)):
        raise UnsupportedError(f"{settings.where}.hidden_sizes is {widths}, where vitrail's ConvNeXt doubles each")
    key = (widths[0], as_tuples(settings.take("depths")))
    settings.must_be("patch_size", 4)
    settings.must_be("num_stages", 4)
    settings.must_be("hidden_act", "gelu")
    settings.pass_over("layer_scale_init_value", "image_size", "layer_norm_eps")  # the last is of its classifier
    take_four_maps(settings)
    options = {"drop_path_rate": settings.take("drop_path_rate", 0.0)}
    return Encoder(known(_CONVNEXTS, key, settings.where), None, options, settings.take("num_channels", 3))


def _describe_convnext(name: str) -> dict[str, Any]:
    width, depths = inverse(_CONVNEXTS, name, "transformers' ConvNeXt")
    return {"hidden_sizes": [width * 2**i for i in range(4)], "depths": list(depths)}


def _resnet(settings: Settings) -> Encoder:
    kind = settings.take("layer_type", "bottleneck")
    key = (kind, as_tuples(settings.take("depths")))
    first = 64 if kind == "basic" else 256
    settings.must_be("hidden_sizes", tuple(first * 2**i for i in range(4)))
    settings.must_be("embedding_size", 64)
    settings.must_be("hidden_act", "relu")
    settings.must_be("downsample_in_first_stage", False)
    settings.must_be("downsample_in_bottleneck", False)
    take_four_maps(settings)
    return Encoder(known(_RESNETS, key, settings.where), None, {}, settings.take("num_channels", 3))


def _describe_resnet(name: str) -> dict[str, Any]:
    kind, depths = inverse(_RESNETS, name, "transformers' ResNet")
    first = 64 if kind == "basic" else 256
    return {
        "layer_type": kind,
        "depths": list(depths),
        "hidden_sizes": [first * 2**i for i in range(4)],
        "embedding_size": 64,
    }


def _without_dropout(settings: Settings) -> None:
    """Pass over rates of dropout inside of the encoder, which vitrail's encoders leave at 0; prediction has none."""
    settings.pass_over("hidden_dropout_prob", "attention_probs_dropout_prob")


def known(table: dict[Any, str], key: Any, where: str) -> str:
    """Return the name of the encoder that has this shape.

    Raises
    ------
    UnsupportedError
        When vitrail has none.
    """
    if key not in table:
        raise UnsupportedError(f"{where}: vitrail has no encoder of this shape: {key}")
    return table[key]


def inverse(table: Mapping[Any, str], name: str, theirs: str) -> Any:
    """Return the key of an encoder in a table of names; a tag of pretrained weights does not count.

    Raises
    ------
    UnsupportedError
        When it has none; `theirs` is what the table stands for.
    """
    bare = name.partition(".")[0]
    found = next((key for key, known_name in table.items() if known_name == bare), None)
    if found is None:
        raise UnsupportedError(f"{theirs} has no encoder like vitrail's {bare!r}; it has {', '.join(table.values())}")
    return found


_RESNET_BLOCK: Names = {
    **{f"layer.{i}.convolution": f"conv{i + 1}" for i in range(3)},
    **{f"layer.{i}.normalization": f"bn{i + 1}" for i in range(3)},
    "shortcut.convolution": "downsample.0",
    "shortcut.normalization": "downsample.1",
}
ENCODERS = {
    "swin": EncoderRecord(_swin, _SWIN, r"swin_\w+", _describe_swin),
    "maskformer-swin": EncoderRecord(_swin, _MASKFORMER_SWIN, r"swin_\w+", _describe_swin),
    "convnext": EncoderRecord(
        _convnext,
        Renaming(
            {
                "embeddings.patch_embeddings": "encoder.stem.0",
                "embeddings.layernorm": "encoder.stem.1",
                "encoder.stages.*.downsampling_layer": "encoder.stages.*.downsample",
                "encoder.stages.*.layers.*": (
                    "encoder.stages.*.blocks.*",
                    {
                        "dwconv": "conv_dw",
                        "layernorm": "norm",
                        "pwconv1": "mlp.fc1",
                        "pwconv2": "mlp.fc2",
                        "layer_scale_parameter": "gamma",
                    },
                ),
                **{f"hidden_states_norms.stage{i + 1}": f"norms.{i}" for i in range(4)},
            }
        ),
        r"convnext_\w+",
        _describe_convnext,
    ),
    "resnet": EncoderRecord(
        _resnet,
        Renaming(
            {
                "embedder.embedder.convolution": "encoder.conv1",
                "embedder.embedder.normalization": "encoder.bn1",
                **{f"encoder.stages.{i}.layers.*": (f"encoder.layer{i + 1}.*", _RESNET_BLOCK) for i in range(4)},
            }
        ),
        r"resnet\d+",
        _describe_resnet,
    ),
}


def backbone_of(settings: Settings) -> tuple[str, Encoder]:
    """Return the kind of encoder that a configuration holds, and what it is here.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    values, where = settings.take("backbone_config", None), f"{settings.where}.backbone_config"
    settings.must_be("backbone", None)
    settings.must_be("use_pretrained_backbone", False)
    settings.must_be("use_timm_backbone", False)
    settings.pass_over("backbone_kwargs")
    if not isinstance(values, dict):
        raise UnsupportedError(f"{where} does not say how the encoder is built")
    kind = str(values.get("model_type"))
    if kind == "swin" and settings.peek("fpn_feature_size"):  # MaskFormer has its own copy of the encoder
        kind = "maskformer-swin"
    if kind not in ENCODERS:
        raise UnsupportedError(f"{where}: vitrail has no encoder like transformers' {kind}")
    inner = settings_of(values, where)
    encoder = ENCODERS[kind].translate(inner)
    inner.finish()
    return kind, encoder


def described_backbone(model: ModelConfig) -> dict[str, Any]:
    """Return the configuration of a model's encoder; the inverse of `backbone_of`.

    Raises
    ------
    UnsupportedError
        When transformers has no such encoder.
    """
    name = (model.backbone or "").partition(".")[0]
    kind = next((kind for kind, record in ENCODERS.items() if re.fullmatch(record.names, name)), None)
    if kind is None:
        raise UnsupportedError(
            f"vitrail writes no encoder like {name!r} for transformers; it writes Swin, ConvNeXt, ResNet"
        )
    described = {"model_type": kind, **ENCODERS[kind].describe(name), "num_channels": model.in_channels}
    rate = model.backbone_options.get("drop_path_rate")
    described |= {} if rate is None else {"drop_path_rate": rate}
    return {**described, "out_features": FOUR_STAGES}
