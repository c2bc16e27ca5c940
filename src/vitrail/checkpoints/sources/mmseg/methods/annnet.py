"""ANNNet: attention to averages over grids."""

from __future__ import annotations

from torch import Tensor

from vitrail.checkpoints.sources.layouts import OnlyTheirs
from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    head_renaming,
    one_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import UnsupportedError

PROJECTIONS: Names = {
    "query_project": "query",
    "key_project": "key",
    "value_project": "value",
    "out_project": "out",
}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Queries and keys of the second block are one convolution, which they save under both names.
SHARED = tuple(
    OnlyTheirs(f"head.context.key.{name}", f"head.context.query.{name}", Tensor.clone)
    for name in ("conv.weight", *(f"bn.{part}" for part in BATCH_NORM))
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    order = model.encoder.order
    indices = head.in_index if isinstance(head.in_index, (list, tuple)) else ()
    if [order[index] for index in indices] != list(range(len(order)))[-2:]:
        raise UnsupportedError(f"{head.where} reads other maps than the last two")
    head.settings.must_be("query_scales", (1,))
    options = {
        "channels": head.channels,
        "attention_bias": True,
        **head.take({"attention_channels": "project_channels", "pool_sizes": "key_pool_scales"}),
        "classifier_dropout": head.dropout,
    }
    head.finish()
    return translation(head, model.encoder, options, one_auxiliary(model))


METHODS.add(
    "annnet",
    MethodRecord(
        "ANNHead",
        translate,
        head_renaming(
            {
                "fusion": ("fusion", {"stages.0": ("", PROJECTIONS), "bottleneck": "fuse"}),
                "bottleneck": "reduce",
                "context": ("context", {"stages.0": ("", PROJECTIONS), "bottleneck": "fuse"}),
            },
            layouts=SHARED,
        ),
    ),
    module=__name__,
)
