"""EMANet: attention by expectation maximisation."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.methods.emanet import BASES
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options, head_renaming, one_auxiliary

RENAMING = head_renaming(
    {
        "ema_in_conv": ("head.reduce", CONV_NORM),
        "ema_mid_conv": "head.signed",
        "ema_module": "head.attention",
        "ema_out_conv": ("head.restore", CONV_NORM),
        "bottleneck": ("head.smooth", CONV_NORM),
        "decoder": ("head.fuse", CONV_NORM),
        "decoder.4": "head.classifier",
    },
    layouts=(BASES,),
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", attention_channels="feats_channels")
    options |= {key: config["head"][key] for key in ("num_bases", "num_stages", "momentum")}
    return options, one_auxiliary(config)


METHODS.add("emanet", MethodRecord("EMANet", translate, RENAMING), module=__name__)
