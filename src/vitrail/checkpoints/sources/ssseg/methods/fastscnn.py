"""Fast-SCNN: an FCN head of separable convolutions, and two auxiliary heads."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import SEPARABLE
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    several_auxiliary,
)

RENAMING = head_renaming(
    {
        "decoder.0": ("head.convs.0", SEPARABLE),
        "decoder.1": ("head.convs.1", SEPARABLE),
        "decoder.3": "head.classifier",
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = {**head_options(config, channels="feats_channels"), "depthwise_act": True}
    auxiliary = several_auxiliary(config)
    return options, {**auxiliary, "channels": auxiliary["channels"][:1]}


METHODS.add("fastscnn", MethodRecord("DepthwiseSeparableFCN", translate, RENAMING), module=__name__)
