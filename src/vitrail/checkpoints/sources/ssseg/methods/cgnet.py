"""CGNet: a classifier on its own encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.ssseg.heads import METHODS, fcn_names, head_options, head_renaming

METHODS.add(
    "cgnet",
    MethodRecord("FCN", head_options, head_renaming({"decoder": ("head", fcn_names(0))}), over="CGNet"),
    module=__name__,
)
