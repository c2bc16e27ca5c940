"""UPerNet: a pyramid of pooled maps on top of a feature pyramid."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, PYRAMID, head_renaming, with_auxiliary

RENAMING = head_renaming(
    {
        **PYRAMID,
        "ppm_net.bottleneck": ("head.pyramid_fuse", CONV_NORM),
        "lateral_convs.*": ("head.laterals.*", CONV_NORM),
        "fpn_convs.*": ("head.smooth.*", CONV_NORM),
        "decoder": ("head.fuse", CONV_NORM),
        "decoder.4": "head.classifier",
    }
)

METHODS.add("upernet", MethodRecord("UPerNet", with_auxiliary(pool_sizes="pool_scales"), RENAMING), module=__name__)
