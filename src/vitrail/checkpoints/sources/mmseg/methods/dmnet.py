"""DMNet: filters that are made from each image."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord

METHODS.add(
    "dmnet",
    MethodRecord(
        "DMHead",
        on_last_map({"filter_sizes": "filter_sizes"}, only={"fusion": False}),
        head_renaming(
            {
                "dcm_modules.*": ("filtered.*", {"filter_gen_conv": "filters.1", "input_redu_conv": "reduce"}),
                "bottleneck": "fuse",
            }
        ),
    ),
    module=__name__,
)
