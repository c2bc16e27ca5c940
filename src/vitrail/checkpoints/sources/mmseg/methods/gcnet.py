"""GCNet: a block of global context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.mmseg.heads import METHODS, around_block, head_renaming
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_TRANSFORM: Names = {"0": "fc1", "1": "norm", "3": "fc2"}
GLOBAL_CONTEXT: Names = {
    "conv_mask": "conv_attn",
    "channel_add_conv": ("mlp_add", _TRANSFORM),
    "channel_mul_conv": ("mlp_scale", _TRANSFORM),
}
POOLINGS = {"att": "attention", "avg": "average"}
FUSIONS = {"channel_add": "add", "channel_mul": "multiply"}


def as_map(vector: Tensor) -> Tensor:
    """Return a layer norm's weight or bias [C] as that of a map of one pixel, [C, 1, 1]."""
    return vector[:, None, None]


# Their layer norms are over maps of one pixel, ours over channels.
NORMS = tuple(
    Change(f"{transform}.norm.{part}", Tensor.flatten, as_map)
    for transform in ("mlp_add", "mlp_scale")
    for part in ("weight", "bias")
)


def described_block(ratio: float, pooling: str, fusions: Sequence[str]) -> dict[str, Any]:
    """Return what a block is, as options of ours."""
    if pooling not in POOLINGS or not set(fusions) <= set(FUSIONS):
        raise UnsupportedError(f"vitrail's GCNet does not pool by {pooling} or fuse by {', '.join(fusions)}")
    return {"ratio": ratio, "pooling": POOLINGS[pooling], "fusions": [FUSIONS[fusion] for fusion in fusions]}


def block(settings: Settings) -> dict[str, Any]:
    """Return what the block of a head is."""
    return described_block(
        settings.take("ratio", 0.25),
        settings.take("pooling_type", "att"),
        settings.take("fusion_types", ("channel_add",)),
    )


METHODS.add(
    "gcnet",
    MethodRecord(
        "GCHead",
        around_block(block),
        head_renaming({"gc_block": ("context", GLOBAL_CONTEXT), "conv_cat": "fuse"}, layouts=NORMS),
    ),
    module=__name__,
)
