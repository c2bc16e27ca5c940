"""DANet: attention of pixels and of channels."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.danet import CHANNEL_ATTENTION, POSITION_ATTENTION
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    loss_weight,
    one_auxiliary,
)

RENAMING = head_renaming(
    {
        "pam_in_conv": ("head.position.0", CONV_NORM),
        "pam_net": ("head.position.1", POSITION_ATTENTION),
        "pam_out_conv": ("head.position.2", CONV_NORM),
        "decoder_pam.1": "head.position_classifier",
        "cam_in_conv": ("head.channel.0", CONV_NORM),
        "cam_net": ("head.channel.1", CHANNEL_ATTENTION),
        "cam_out_conv": ("head.channel.2", CONV_NORM),
        "decoder_cam.1": "head.channel_classifier",
        "decoder_pamcam.1": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", attention_channels="transform_channels")
    weights = {f"{ours}_weight": loss_weight(config, f"loss_cls_{theirs}") for ours, theirs in BRANCHES.items()}
    return {**options, **weights}, one_auxiliary(config)


BRANCHES = {"position": "pam", "channel": "cam"}

METHODS.add("danet", MethodRecord("DANet", translate, RENAMING), module=__name__)
