"""DeepLabv3: a pyramid of dilated convolutions."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, POOLED, SEPARABLE
from vitrail.checkpoints.sources.ssseg.heads import METHODS, head_renaming, with_auxiliary

ATROUS_PYRAMID: Names = {
    "aspp_net.parallel_branches.*": ("head.pyramid.branches.*", {**CONV_NORM, **SEPARABLE}),
    "aspp_net.global_branch": ("head.pyramid.pool.1", POOLED),
    "aspp_net.bottleneck": ("head.pyramid.fuse", CONV_NORM),
}

METHODS.add(
    "deeplabv3",
    MethodRecord(
        "Deeplabv3",
        with_auxiliary(dilations="dilations"),
        head_renaming({**ATROUS_PYRAMID, "decoder.1": "head.classifier"}),
    ),
    module=__name__,
)
