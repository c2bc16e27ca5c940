"""APCNet: adaptive context modules."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import FUSED, METHODS, head_renaming, with_auxiliary

METHODS.add(
    "apcnet",
    MethodRecord(
        "APCNet",
        with_auxiliary(pool_sizes="pool_scales"),
        head_renaming(
            {
                "acm_modules.*": (
                    "head.contexts.*",
                    {
                        "pooled_redu_conv": ("pool.1", CONV_NORM),
                        "input_redu_conv": ("reduce", CONV_NORM),
                        "global_info": ("image", CONV_NORM),
                        "gla": "affinity",
                        "residual_conv": ("residual", CONV_NORM),
                        "fusion_conv": ("fuse", CONV_NORM),
                    },
                ),
                **FUSED,
            }
        ),
    ),
    module=__name__,
)
