"""PSPNet: a pyramid of pooled maps."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord

METHODS.add(
    "pspnet",
    MethodRecord(
        "PSPHead",
        on_last_map({"pool_sizes": "pool_scales"}),
        head_renaming({"psp_modules": "pyramid.stages", "bottleneck": "fuse"}),
    ),
    module=__name__,
)
