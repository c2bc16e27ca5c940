"""What the records of MMSegmentation's encoders share, and the translation of a config's `backbone` section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vitrail.checkpoints.plain import as_lists, as_tuples
from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.records import BackboneRecord, find_backbone
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.registry import Registry

Translate = Callable[[Settings, str], Encoder]
BackboneRecords = Registry[BackboneRecord[Translate]]
BACKBONES: BackboneRecords = Registry(
    "MMSegmentation encoder", UnsupportedError, "vitrail.checkpoints.sources.mmseg.backbones"
)

# Settings that matter in training only, or say what the section's other settings say.
_TRAINING_ONLY = (
    "type",
    "pretrained",
    "init_cfg",
    "with_cp",
    "norm_eval",
    "frozen_stages",
    "zero_init_residual",
    "attn_drop_rate",
    "drop_rate",
)
# Strides and dilations of a ResNet's four stages, by output stride.
_RESNET_STRIDES = {
    ((1, 2, 2, 2), (1, 1, 1, 1)): None,
    ((1, 2, 2, 1), (1, 1, 1, 2)): 16,
    ((1, 2, 1, 1), (1, 1, 2, 4)): 8,
}
ATTENTION: Names = {
    "attn.attn.in_proj_weight": "attn.qkv.weight",
    "attn.attn.in_proj_bias": "attn.qkv.bias",
    "attn.attn.out_proj": "attn.proj",
}
FEEDFORWARD: Names = {"ffn.layers.0.0": "mlp.fc1", "ffn.layers.1": "mlp.fc2"}
SEPARABLE: Names = {"depthwise_conv": "depthwise", "pointwise_conv": "pointwise"}


def translate_backbone(values: Mapping[str, Any], neck: Mapping[str, Any] | None, where: str) -> Encoder:
    """Return the encoder that a config's `backbone` section, and its neck over plain transformers, describe.

    Raises
    ------
    UnsupportedError
        When vitrail has no encoder that computes the same.
    """
    kind = str(values.get("type", "")).removeprefix("mmpretrain.")
    record = find_backbone(BACKBONES, kind)
    if record is None:
        raise UnsupportedError(f"{where}: vitrail has no encoder like MMSegmentation's {kind}")
    settings = Settings(values, f"{where}.{kind}")
    encoder = record.translate(settings, kind)
    settings.pass_over(*_TRAINING_ONLY)
    settings.finish()
    if encoder.takes_neck and neck is not None:
        encoder.options.update(_neck_options(neck, f"{where}.neck"))
    return encoder


def check_norm(settings: Settings, *kinds: str, eps: float = 1e-5) -> None:
    """Refuse a `norm_cfg` of another kind, or with another epsilon, than vitrail's layers have."""
    norm = settings.take("norm_cfg", None)
    if norm is None:
        return
    found = Settings(norm, f"{settings.where}.norm_cfg")
    found.must_be("type", *kinds)
    found.must_be("eps", eps)
    if "GN" in kinds:
        found.must_be("num_groups", 32)
    found.pass_over("requires_grad", "momentum")
    found.finish()


def known_shape(table: Mapping[Any, str], key: Any, where: str) -> str:
    """Return the name of the encoder that has this shape.

    Raises
    ------
    UnsupportedError
        When vitrail has none.
    """
    if key not in table:
        raise UnsupportedError(f"{where}: vitrail has no encoder of this shape: {key}")
    return table[key]


def resnet_dilation(settings: Settings) -> tuple[int | None, dict[str, Any]]:
    """Return the output stride of a ResNet, and `stage_dilations` where it is dilated at the strides of a plain one."""
    strides = as_tuples(settings.take("strides", (1, 2, 2, 2)))
    dilations = as_tuples(settings.take("dilations", (1, 1, 1, 1)))
    if max(dilations) > 1:
        settings.must_be("contract_dilation", True)
    settings.pass_over("contract_dilation")
    if (strides, dilations) in _RESNET_STRIDES:
        return _RESNET_STRIDES[strides, dilations], {}
    if strides == (1, 2, 2, 2):
        return None, {"stage_dilations": list(dilations)}
    raise UnsupportedError(f"{settings.where} has strides {strides} with dilations {dilations}")


def layer_norm_eps(settings: Settings) -> float:
    """Return the epsilon of the layer norms of a plain transformer; PyTorch's where it is not said."""
    norm = Settings(settings.take("norm_cfg", {"type": "LN"}), f"{settings.where}.norm_cfg")
    norm.must_be("type", "LN")
    eps = float(norm.take("eps", 1e-5))
    norm.pass_over("requires_grad")
    norm.finish()
    return eps


def plain_transformer_shape(settings: Settings) -> tuple[int, int, int]:
    """Return (width, layers, heads) of a plain transformer with patches of 16 × 16."""
    settings.must_be("patch_size", 16)
    settings.must_be("mlp_ratio", 4)
    settings.must_be("act_cfg", {"type": "GELU"})
    settings.must_be("patch_norm", False)
    settings.must_be("num_fcs", 2)
    return (settings.take("embed_dims", 768), settings.take("num_layers", 12), settings.take("num_heads", 12))


def plain_transformer_options(settings: Settings, num_layers: int) -> dict[str, Any]:
    """Return the options that all plain transformers have."""
    indices = settings.take("out_indices", -1)
    indices = indices if isinstance(indices, (list, tuple)) else [indices]
    return {
        "img_size": as_lists(settings.take("img_size", 224)),
        "out_indices": [index % num_layers for index in indices],
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
    }


def _neck_options(neck: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options of a plain transformer for the neck that turns its maps into a pyramid."""
    settings = Settings(neck, where)
    kind = settings.take("type")
    if kind == "Feature2Pyramid":
        settings.must_be("rescales", (4, 2, 1, 0.5))
        check_norm(settings, "BN", "SyncBN")
        options: dict[str, Any] = {"pyramid": True}
        settings.pass_over("embed_dim")
    elif kind == "MultiLevelNeck":
        settings.must_be("scales", (4, 2, 1, 0.5))
        settings.must_be("norm_cfg", None)
        settings.must_be("act_cfg", None)
        options = {"neck_channels": settings.take("out_channels")}
        settings.pass_over("in_channels")
    else:
        raise UnsupportedError(f"{where}: vitrail puts no {kind} over a plain transformer")
    settings.finish()
    return options
