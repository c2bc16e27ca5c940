"""ISANet: attention within interlaced groups of pixels."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, head_renaming, with_auxiliary

_ATTENTION: Names = {
    "query_project.*": ("query.*", CONV_NORM),
    "key_project.*": ("key.*", CONV_NORM),
    "value_project": "value",
    "output_project": ("out", CONV_NORM),
}

METHODS.add(
    "isanet",
    MethodRecord(
        "ISANet",
        with_auxiliary(attention_channels="isa_channels", window="down_factor"),
        head_renaming(
            {
                "in_conv": ("head.reduce", CONV_NORM),
                "global_relation": ("head.distant", _ATTENTION),
                "local_relation": ("head.near", _ATTENTION),
                "out_conv": ("head.fuse", CONV_NORM),
                "decoder.1": "head.classifier",
            }
        ),
    ),
    module=__name__,
)
