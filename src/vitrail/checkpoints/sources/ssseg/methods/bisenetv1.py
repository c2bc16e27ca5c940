"""BiSeNetV1: an FCN head on its own encoder, and an auxiliary head on every other map."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    fcn_names,
    head_options,
    head_renaming,
    several_auxiliary,
)

RENAMING = head_renaming({"decoder": ("head", fcn_names(1))}, auxiliary=fcn_names(1))


def translate(config: Config) -> dict[str, Any]:
    """Return the options that a configuration describes."""
    return {**head_options(config, channels="feats_channels"), **several_auxiliary(config)}


METHODS.add("bisenetv1", MethodRecord("FCN", translate, RENAMING, over="BiSeNetV1"), module=__name__)
