"""DMNet: filters that are made from each image."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    FUSED,
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    one_auxiliary,
)

RENAMING = head_renaming(
    {
        "dcm_modules.*": (
            "head.filtered.*",
            {"filter_gen_conv": "filters.1", "input_redu_conv": ("reduce", CONV_NORM)},
        ),
        **FUSED,
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    if config["head"]["is_fusion"]:
        raise UnsupportedError("vitrail's DMNet has no convolution behind each of its modules (is_fusion)")
    return head_options(config, channels="feats_channels", filter_sizes="filter_sizes"), one_auxiliary(config)


METHODS.add("dmnet", MethodRecord("DMNet", translate, RENAMING), module=__name__)
