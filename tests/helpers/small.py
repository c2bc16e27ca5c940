"""Every registered method, small enough to be tested in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from helpers.plain_encoder import plain_encoder
from vitrail.backbones import BACKBONES
from vitrail.recipes import model_config_from_dict
from vitrail.registry import keyword_arguments
from vitrail.segmentors import SEGMENTORS, Segmentor, build_model, create_model

CLASSES = 11
PUBLISHED_WITH_RESNET = ("resnet50c", "resnet101c", "resnet50", "resnet101", "resnet34")

# Narrow heads where the published width would only cost time; a method that is not here is tested as it is.
SMALL: dict[str, dict[str, object]] = {
    "fcn": {"channels": 32},
    "pspnet": {"channels": 32},
    "deeplabv3": {"channels": 32},
    "deeplabv3plus": {"channels": 32},
    "upernet": {"channels": 32},
    "bisenetv1": {"channels": 32},
    "bisenetv2": {"channels": 64},
    "encnet": {"channels": 32},
    "emanet": {"channels": 32, "attention_channels": 32, "num_bases": 8},
    "danet": {"channels": 32, "attention_channels": 8},
    "ccnet": {"channels": 32},
    "nonlocalnet": {"channels": 32},
    "gcnet": {"channels": 32},
    "annnet": {"channels": 32, "attention_channels": 16},
    "dnlnet": {"channels": 32},
    "isanet": {"channels": 32, "attention_channels": 16},
    "apcnet": {"channels": 32},
    "dmnet": {"channels": 32},
    "ocrnet": {"channels": 32, "attention_channels": 16, "coarse_channels": 16},
    "maskformer": {"channels": 32, "mask_channels": 32, "query_channels": 32, "num_queries": 20, "num_layers": 2},
    "ddrnet": {"channels": 32},
    # with the published threshold the loss at boundaries begins when the first ones are found, and the sum rises
    "pidnet": {"channels": 32, "boundary_weight": 1.0, "boundary_threshold": 0.0},
    "mask2former": {
        **{"channels": 32, "mask_channels": 32, "query_channels": 32, "num_queries": 20, "num_layers": 2},
        **{"encoder_layers": 1, "encoder_feedforward_channels": 32, "feedforward_channels": 32, "num_points": 256},
    },
    "eomt": {"num_queries": 20, "num_blocks": 2, "num_points": 256},
    "oneformer": {
        **{"channels": 32, "num_queries": 20, "query_layers": 1, "num_layers": 2, "num_points": 256},
        **{"encoder_layers": 1, "encoder_feedforward_channels": 32, "feedforward_channels": 32},
    },
    "san": {
        **{"channels": 32, "num_layers": 4, "num_heads": 2, "num_queries": 20, "mask_channels": 16, "img_size": 128},
        **{"early_layers": (3,), "embedding_channels": 32, "text_channels": 64, "text_layers": 1, "num_points": 256},
        **{"vocabulary_size": 100, "clip_heads": 2, "frozen": False},
    },
    "ce2p": {"channels": 32, "shortcut_channels": 16, "edge_channels": 16},
    "icnet": {"channels": 32, "branch_channels": (16, 32, 32), "pool_channels": 32},
    "mcibi": {"channels": 32, "inner_channels": 16, "memory_weight": 1.0},
    "isnet": {"channels": 32, "inner_channels": 16},
    "idrnet": {"channels": 32, "inner_channels": 16, "attend_channels": 16},
    "mcibiplusplus": {"channels": 32, "inner_channels": 16},
    **{
        f"fastfcn_{head}": {"channels": 32, "upsampling_channels": 16}
        for head in ("fcn", "pspnet", "deeplabv3", "encnet")
    },
    "psanet": {"channels": 32, "mask_size": (15, 15)},
    "lraspp": {"channels": 32, "branch_channels": (8, 16)},
    "sctnet": {"channels": 32, "early_channels": 16},
    "stdc": {"channels": 32, "early_channels": 16},
    "segnext": {"channels": 32, "inner_channels": 32, "rank": 4},
    "knet": {"channels": 32, "gate_channels": 16, "num_heads": 2, "feedforward_channels": 32},
    "dpt": {"channels": 16, "map_channels": (8, 8, 16, 16)},
    **{name: {"channels": (32, 32, 16, 16, 8)} for name in ("unet", "unetplusplus", "manet")},
    "fpn": {"pyramid_channels": 32, "channels": 64},
    "pan": {"channels": 16},
    "setr": {"channels": 32},
    "segmenter": {"channels": 32, "num_heads": 2, "drop_path_rate": 0.0},
    "setr_mla": {"channels": 16, "aggregation_channels": 32},
    "semanticfpn": {"pyramid_channels": 32, "channels": 16},
    "pointrend": {"channels": 32, "coarse_channels": 16, "num_points": 256, "points_per_step": 512},
}


def small_settings(name: str, **options: object) -> dict[str, Any]:
    """Describe a method on a small encoder as a recipe does: narrow, without dropout or skipped blocks."""
    method = SEGMENTORS[name]
    takes_dropout = "dropout" in method.options
    plain = method.backbone.startswith("vit_")
    backbone = "test_resnet" if method.backbone in PUBLISHED_WITH_RESNET else "test_vit" if plain else method.backbone
    skips = backbone in BACKBONES and "drop_path_rate" in keyword_arguments(BACKBONES[backbone])
    return {
        "segmentor": name,
        "backbone": backbone,
        "output_stride": method.output_stride if backbone == "test_resnet" else None,
        "backbone_options": {"drop_path_rate": 0.0} if skips else {},
        "options": {**SMALL.get(name, {}), **({"dropout": 0.0} if takes_dropout else {}), **options},
        "auxiliary": {"channels": [16]} if method.auxiliary.weight else {},
    }


def small(name: str, **options: object) -> Segmentor:
    """Build what `small_settings` describes."""
    return build_model(model_config_from_dict(small_settings(name, **options)), CLASSES)


def small_head(name: str, **options: object) -> Segmentor:
    """Build a method as `small` does, on an encoder of one convolution for each feature map.

    What is left to compute is the head and its losses, several times as fast. ICNet, whose branches are stages of a
    ResNet, and EoMT and SAN, which take blocks of a plain transformer, keep their encoder.
    """
    if name in ("icnet", "eomt", "san"):
        return small(name, **options)
    method = SEGMENTORS[name]
    if method.output_stride == 8:
        shape = "dilated"
    elif method.backbone.startswith("vit_"):
        shape = "plain"
    else:
        shape = "five maps, the last the finest" if name == "bisenetv2" else "pyramid"
    dropout = {"dropout": 0.0} if "dropout" in method.options else {}
    return create_model(
        name,
        plain_encoder(shape),
        CLASSES,
        auxiliary=replace(method.auxiliary, channels=(16,)),
        **{**SMALL.get(name, {}), **dropout, **options},
    )


# How a test builds a method: its head alone in `make test`, with its small encoder in `make nightly`.
BUILDERS = pytest.mark.parametrize(
    "build", [pytest.param(small_head, id="head"), pytest.param(small, id="whole", marks=pytest.mark.nightly)]
)
