"""BiSeNetV2: an FCN head on its own encoder, and an auxiliary head on every other map."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    head_renaming,
    several_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.records import MethodRecord


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.read_last_map(model.encoder)
    head.must_have_convolutions(1)
    head.finish()
    indices = range(-len(model.encoder.order), -1)
    auxiliary = several_auxiliary(model, indices, num_convs=2)
    return translation(head, model.encoder, {"channels": head.channels}, auxiliary)


METHODS.add("bisenetv2", MethodRecord("FCNHead", translate, head_renaming({}), over="BiSeNetV2"), module=__name__)
