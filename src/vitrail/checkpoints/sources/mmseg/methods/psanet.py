"""PSANet: point-wise spatial attention."""

from __future__ import annotations

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    head_renaming,
    one_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.records import MethodRecord

DIRECTIONS = {
    "collect": ["collect"],
    "distribute": ["distribute"],
    "bi-direction": ["collect", "distribute"],
}
RENAMING = head_renaming(
    {
        "reduce": "attentions.0.reduce",
        "attention.0": "attentions.0.hidden",
        "attention.1": "attentions.0.scores",
        "reduce_p": "attentions.1.reduce",
        "attention_p.0": "attentions.1.hidden",
        "attention_p.1": "attentions.1.scores",
        "proj": "project",
        "bottleneck": "fuse",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.read_last_map(model.encoder)
    height, width = head.settings.take("mask_size")
    scale = head.settings.take("normalization_factor", 1.0)
    options = {
        "channels": head.channels,
        "mask_size": as_lists((height, width)),
        "directions": DIRECTIONS[head.settings.take("psa_type", "bi-direction")],
        "compact": head.settings.take("compact", False),
        "shrink": head.settings.take("shrink_factor", 2),
        "softmax": head.settings.take("psa_softmax", True),
        "scale": float(height * width if scale is None else scale),
    }
    head.finish()
    return translation(head, model.encoder, options, one_auxiliary(model))


METHODS.add("psanet", MethodRecord("PSAHead", translate, RENAMING), module=__name__)
