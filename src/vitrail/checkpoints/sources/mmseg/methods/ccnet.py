"""CCNet: criss-cross attention."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, around_block, head_renaming
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names

# of mmcv's operator, which both projects have
CRISS_CROSS: Names = {
    "query_conv": "query",
    "key_conv": "key",
    "value_conv": "value",
    "gamma.scale": "scale.weight",
}

METHODS.add(
    "ccnet",
    MethodRecord(
        "CCHead",
        around_block(lambda settings: {"recurrence": settings.take("recurrence", 2)}),
        head_renaming({"cca": ("context", CRISS_CROSS), "conv_cat": "fuse"}),
    ),
    module=__name__,
)
