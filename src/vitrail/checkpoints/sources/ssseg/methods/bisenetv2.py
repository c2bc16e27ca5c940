"""BiSeNetV2: an FCN head on its own encoder, and an auxiliary head on every other map."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    fcn_names,
    head_options,
    head_renaming,
    several_auxiliary,
)

RENAMING = head_renaming({"decoder": ("head", fcn_names(1))}, auxiliary=fcn_names(2))


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    return head_options(config, channels="feats_channels"), several_auxiliary(config)


METHODS.add("bisenetv2", MethodRecord("FCN", translate, RENAMING, over="BiSeNetV2"), module=__name__)
