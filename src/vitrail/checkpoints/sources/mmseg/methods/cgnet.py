"""CGNet: a classifier on its own encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation, head_renaming, translation
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.settings import UnsupportedError


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    if head.convolutions()["num_convs"] != 0:
        raise UnsupportedError(f"{head.where} has convolutions before its classifier")
    head.finish()
    return translation(head, model.encoder, {})


METHODS.add("cgnet", MethodRecord("FCNHead", translate, head_renaming({}), over="CGNet"), module=__name__)
