"""FCN: convolutions and a classifier on the last map."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    head_renaming,
    joined_maps,
    one_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.records import MethodRecord

RENAMING = head_renaming({"conv_cat": "fuse"})


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.read_last_map(model.encoder)
    options = {"channels": head.channels, **head.convolutions()}
    head.finish()
    auxiliary = one_auxiliary(model, dilation=options["dilation"])
    return translation(head, joined_maps(head, model.encoder), options, auxiliary)


METHODS.add("fcn", MethodRecord("FCNHead", translate, RENAMING), module=__name__)
