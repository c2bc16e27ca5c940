"""LR-ASPP: a light pyramid for mobile encoders."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, head_options

RENAMING = Renaming(
    {
        "aspp_conv": ("head.reduce", CONV_NORM),
        "image_pool": ("head.gate", {"1": "0", "2": "1"}),
        "bottleneck": "head.project",
        **{f"branch_convs.conv{index}": f"head.branches.{index}" for index in range(2)},
        **{f"branch_ups.conv{index}": (f"head.fuse.{index}", CONV_NORM) for index in range(2)},
        "decoder.1": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", branch_channels="branch_channels_list")
    return {**options, "pool_norm": True, "bias": False, "norm_eps": config["norm_cfg"].get("eps", 1e-5)}, {}


METHODS.add("lraspp", MethodRecord("LRASPPNet", translate, RENAMING), module=__name__)
