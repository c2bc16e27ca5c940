"""DeepLabv3+: the pyramid of DeepLabv3 with separable convolutions, and a shortcut from the finest map."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.encoders import SEPARABLE
from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.mmseg.methods.deeplabv3 import AVERAGE
from vitrail.checkpoints.sources.records import MethodRecord

METHODS.add(
    "deeplabv3plus",
    MethodRecord(
        "DepthwiseSeparableASPPHead",
        on_last_map({"dilations": "dilations", "shortcut_channels": "c1_channels"}),
        head_renaming(
            {
                "image_pool": "pyramid.pool",
                "aspp_modules.*": ("pyramid.branches.*", SEPARABLE),
                "bottleneck": "pyramid.fuse",
                "c1_bottleneck": "shortcut",
                "sep_bottleneck.*": ("decoder.*", SEPARABLE),
            },
            layouts=(AVERAGE,),
        ),
    ),
    module=__name__,
)
