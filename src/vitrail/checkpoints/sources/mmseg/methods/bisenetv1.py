"""BiSeNetV1: an FCN head on its own encoder, and an auxiliary head on every other map."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, fcn_on_own_encoder, head_renaming
from vitrail.checkpoints.sources.records import MethodRecord

TRANSLATE = fcn_on_own_encoder(auxiliary_convs=1)

METHODS.add("bisenetv1", MethodRecord("FCNHead", TRANSLATE, head_renaming({}), over="BiSeNetV1"), module=__name__)
