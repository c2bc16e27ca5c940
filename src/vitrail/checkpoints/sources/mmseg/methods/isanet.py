"""ISANet: attention within interlaced groups of pixels."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names

_ATTENTION: Names = {
    "query_project": "query",
    "key_project": "key",
    "value_project": "value",
    "output_project": "out",
}

METHODS.add(
    "isanet",
    MethodRecord(
        "ISAHead",
        on_last_map(
            {"attention_channels": "isa_channels", "window": "down_factor"},
            always={"attention_bias": True, "fuse_kernel_size": 1},
        ),
        head_renaming(
            {
                "in_conv": "reduce",
                "global_relation": ("distant", _ATTENTION),
                "local_relation": ("near", _ATTENTION),
                "out_conv": "fuse",
            }
        ),
    ),
    module=__name__,
)
