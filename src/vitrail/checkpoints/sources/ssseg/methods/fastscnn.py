"""Fast-SCNN: an FCN head of separable convolutions, and two auxiliary heads."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.encoders import SEPARABLE
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
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


def translate(config: Config) -> dict[str, Any]:
    """Return the options that a configuration describes."""
    options = {**head_options(config, channels="feats_channels"), "depthwise_act": True, **several_auxiliary(config)}
    return {**options, "aux_channels": options["aux_channels"][0]}


METHODS.add("fastscnn", MethodRecord("DepthwiseSeparableFCN", translate, RENAMING), module=__name__)
