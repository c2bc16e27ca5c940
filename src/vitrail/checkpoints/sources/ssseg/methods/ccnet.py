"""CCNet: criss-cross attention."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.ccnet import CRISS_CROSS
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.heads import METHODS, around_block, with_auxiliary

METHODS.add(
    "ccnet",
    MethodRecord(
        "CCNet",
        with_auxiliary(recurrence="num_recurrence"),
        around_block("cca", "cca", CRISS_CROSS),
    ),
    module=__name__,
)
