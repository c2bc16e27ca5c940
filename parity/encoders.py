"""Encoders of MMSegmentation and SSSegmentation by themselves, with fresh weights and without downloads."""

from __future__ import annotations

from typing import Any

from torch import nn

from parity.missing import require
from parity.references import require_mmseg, require_ssseg

# Strides and dilations of the four stages of a ResNet, by output stride.
DILATIONS = {8: ((1, 2, 1, 1), (1, 1, 2, 4)), 16: ((1, 2, 2, 1), (1, 1, 1, 2)), 32: ((1, 2, 2, 2), (1, 1, 1, 1))}


def mmseg_backbone(kind: str, **settings: Any) -> nn.Module:
    """Build an encoder of MMSegmentation by the name of its class."""
    require_mmseg()
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    return MODELS.build({"type": kind, **settings})


def mmpretrain_backbone(kind: str, **settings: Any) -> nn.Module:
    """Build an encoder that MMSegmentation takes from MMPretrain, by the name of its class."""
    require_mmseg()
    return getattr(require("mmpretrain.models", "MMPretrain"), kind)(**settings)


def ssseg_backbone(kind: str, **settings: Any) -> nn.Module:
    """Build an encoder of SSSegmentation by the name of its class."""
    require_ssseg()
    from ssseg.modules.models.backbones import BuildBackbone

    settings.setdefault("norm_cfg", {"type": "BatchNorm2d"})
    return BuildBackbone({"type": kind, "structure_type": "any", "pretrained": False, **settings})


def hrnet_stages(widths: tuple[int, ...], modules: tuple[int, int, int], blocks: int) -> dict[str, Any]:
    """Return MMSegmentation's settings of an HRNet: its widths, modules of the last three stages, blocks in each."""

    def stage(count: int, channels: tuple[int, ...], block: str = "BASIC") -> dict[str, Any]:
        return {
            "num_modules": count,
            "num_branches": len(channels),
            "block": block,
            "num_blocks": (blocks,) * len(channels),
            "num_channels": channels,
        }

    rest = {f"stage{i}": stage(count, widths[:i]) for i, count in zip((2, 3, 4), modules, strict=True)}
    return {"stage1": stage(1, (64,), "BOTTLENECK"), **rest}
