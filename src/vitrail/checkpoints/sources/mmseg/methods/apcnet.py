"""APCNet: adaptive context modules."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord

METHODS.add(
    "apcnet",
    MethodRecord(
        "APCHead",
        on_last_map({"pool_sizes": "pool_scales"}, only={"fusion": True}),
        head_renaming(
            {
                "acm_modules.*": (
                    "contexts.*",
                    {
                        "pooled_redu_conv": "pool.1",
                        "input_redu_conv": "reduce",
                        "global_info": "image",
                        "gla": "affinity",
                        "residual_conv": "residual",
                        "fusion_conv": "fuse",
                    },
                ),
                "bottleneck": "fuse",
            }
        ),
    ),
    module=__name__,
)
