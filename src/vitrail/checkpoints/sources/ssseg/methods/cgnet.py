"""CGNet: a classifier on its own encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, fcn_names, head_options, head_renaming

RENAMING = head_renaming({"decoder": ("head", fcn_names(0))})


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    return head_options(config), {}


METHODS.add("cgnet", MethodRecord("FCN", translate, RENAMING, over="CGNet"), module=__name__)
