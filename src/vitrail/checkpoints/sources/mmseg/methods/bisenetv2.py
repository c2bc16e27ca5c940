"""BiSeNetV2: an FCN head on its own encoder, and an auxiliary head on every other map."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import METHODS, fcn_on_own_encoder, head_renaming
from vitrail.checkpoints.sources.records import MethodRecord

TRANSLATE = fcn_on_own_encoder(auxiliary_convs=2)

METHODS.add("bisenetv2", MethodRecord("FCNHead", TRANSLATE, head_renaming({}), over="BiSeNetV2"), module=__name__)
