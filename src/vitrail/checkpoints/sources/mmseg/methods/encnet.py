"""EncNet: context encoding."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    head_renaming,
    one_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.records import MethodRecord

RENAMING = head_renaming(
    {
        "bottleneck": "reduce",
        "lateral_convs": "laterals",
        "fusion": "lateral_fuse",
        "enc_module.encoding_project": "project",
        "enc_module.encoding": "encode",
        "enc_module.fc.0": "gate",
        "se_layer": "presence",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    presence = head.settings.take("loss_se_decode", {"loss_weight": 0.2})
    options = {
        "channels": head.channels,
        "num_codes": head.settings.take("num_codes", 32),
        "lateral": head.settings.take("add_lateral", False),
        "presence_weight": first_weight(presence) if head.settings.take("use_se_loss", True) else 0.0,
    }
    head.finish()
    return translation(head, model.encoder, options, one_auxiliary(model))


METHODS.add("encnet", MethodRecord("EncHead", translate, RENAMING), module=__name__)
