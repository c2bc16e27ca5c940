"""DNLNet: a disentangled non-local block."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, around_block, head_renaming
from vitrail.checkpoints.sources.mmseg.methods.nonlocalnet import NON_LOCAL
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import Settings


def block(settings: Settings) -> dict[str, Any]:
    """Return what a disentangled non-local block is."""
    settings.must_be("mode", "embedded_gaussian")
    return {
        "reduction": settings.take("reduction", 2),
        "scale": settings.take("use_scale", True),
        "temperature": settings.take("temperature", 0.05),
    }


METHODS.add(
    "dnlnet",
    MethodRecord(
        "DNLHead",
        around_block(block),
        head_renaming({"dnl_block": ("context", {**NON_LOCAL, "conv_mask": "unary"}), "conv_cat": "fuse"}),
    ),
    module=__name__,
)
