"""Fast-SCNN: an FCN head of separable convolutions, and two auxiliary heads."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.encoders import SEPARABLE
from vitrail.checkpoints.sources.mmseg.heads import (
    METHODS,
    ModelSection,
    Translation,
    one_width,
    several_auxiliary,
    translation,
)
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming

_AUXILIARY: Names = {"conv_seg": "classifier"}
RENAMING = Renaming(
    {
        "decode_head": ("head", {"conv_seg": "classifier", "convs.*": ("convs.*", SEPARABLE)}),
        "auxiliary_head.0": ("auxiliary.1", _AUXILIARY),  # MMSegmentation lists the deeper of the two first
        "auxiliary_head.1": ("auxiliary.0", _AUXILIARY),
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    head.settings.must_be("concat_input", False)
    head.settings.must_be("num_convs", 2)
    head.finish()
    auxiliary = several_auxiliary(model, indices=(-2, -3), num_convs=1)
    auxiliary["channels"] = [one_width(auxiliary["channels"], model.where)]
    return translation(head, model.encoder, {"channels": head.channels}, auxiliary)


METHODS.add("fastscnn", MethodRecord("DepthwiseSeparableFCNHead", translate, RENAMING), module=__name__)
