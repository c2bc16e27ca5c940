"""NonLocalNet: a non-local block."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, around_block, head_renaming
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import Settings

NON_LOCAL: Names = {
    "g.conv": "value",
    "theta.conv": "query",
    "phi.conv": "key",
    "concat_project.conv": "compare",
    "conv_out": "out",
}


def block(settings: Settings) -> dict[str, Any]:
    """Return what a non-local block is."""
    return {
        "reduction": settings.take("reduction", 2),
        "scale": settings.take("use_scale", True),
        "pairwise": settings.take("mode", "embedded_gaussian"),
    }


METHODS.add(
    "nonlocalnet",
    MethodRecord(
        "NLHead",
        around_block(block),
        head_renaming({"nl_block": ("context", NON_LOCAL), "conv_cat": "fuse"}),
    ),
    module=__name__,
)
