"""UPerNet: a pyramid of pooled maps on top of a feature pyramid."""

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

RENAMING = head_renaming(
    {
        "psp_modules": "pyramid.stages",
        "bottleneck": "pyramid_fuse",
        "lateral_convs": "laterals",
        "fpn_convs": "smooth",
        "fpn_bottleneck": "fuse",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    options = {"channels": head.channels, "pool_sizes": as_lists(head.settings.take("pool_scales", (1, 2, 3, 6)))}
    head.finish()
    return translation(head, model.encoder, options, one_auxiliary(model))


METHODS.add("upernet", MethodRecord("UPerHead", translate, RENAMING), module=__name__)
