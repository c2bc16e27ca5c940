"""DANet: attention of pixels and of channels."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, head_renaming, on_last_map
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names

POSITION_ATTENTION: Names = {
    "query_project": "query",
    "key_project": "key",
    "value_project": "value",
    "gamma.scale": "scale.weight",
}
CHANNEL_ATTENTION: Names = {"gamma.scale": "scale.weight"}

METHODS.add(
    "danet",
    MethodRecord(
        "DAHead",
        on_last_map({"attention_channels": "pam_channels"}, always={"attention_bias": True}),
        head_renaming(
            {
                "pam_in_conv": "position.0",
                "pam": ("position.1", POSITION_ATTENTION),
                "pam_out_conv": "position.2",
                "pam_conv_seg": "position_classifier",
                "cam_in_conv": "channel.0",
                "cam": ("channel.1", CHANNEL_ATTENTION),
                "cam_out_conv": "channel.2",
                "cam_conv_seg": "channel_classifier",
            }
        ),
    ),
    module=__name__,
)
