"""FCN: convolutions and a classifier on the last map."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.ssseg.heads import (
    METHODS,
    Config,
    Options,
    fcn_names,
    head_options,
    head_renaming,
    one_auxiliary,
)
from vitrail.recipes import ModelConfig


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels")
    return {**options, "num_convs": config["head"].get("num_convs", 2)}, one_auxiliary(config)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on how many convolutions stand before the classifier."""
    return head_renaming({"decoder": ("head", fcn_names(model.options["num_convs"]))})


METHODS.add("fcn", MethodRecord("FCN", translate, renaming), module=__name__)
