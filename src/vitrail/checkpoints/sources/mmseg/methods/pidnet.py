"""PIDNet: a light head on its own encoder, with early logits and boundaries."""

from __future__ import annotations

from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translation
from vitrail.checkpoints.sources.mmseg.losses import translate_losses
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_DECODER: Names = {"conv": "conv", "norm": "norm"}
RENAMING = Renaming(
    {
        "decode_head.i_head": ("head.decoder", _DECODER),
        "decode_head.conv_seg": "head.decoder.classifier",
        "decode_head.p_head": ("head.early", _DECODER),
        "decode_head.p_cls_seg": "head.early.classifier",
        "decode_head.d_head": ("head.boundary", _DECODER),
        "decode_head.d_cls_seg": "head.boundary.classifier",
    }
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    head = model.decode_head()
    where = f"{head.where}.loss_decode"
    if not isinstance(head.losses, (list, tuple)) or len(head.losses) != 4:
        raise UnsupportedError(f"{where} should have four losses")
    early_values, main_values, boundary_values, there_values = head.losses
    early, main, there = translate_losses([early_values, main_values, there_values], head.sampler, where)
    boundary = Settings(boundary_values, where)
    boundary.must_be("type", "BoundaryLoss")
    if main != there or main["weight"] != 1.0 or early["name"] != "cross_entropy":
        raise UnsupportedError(f"{where} has other losses than vitrail's PIDNet")
    weights = early["options"].get("class_weights")
    options: dict[str, Any] = {
        "channels": head.channels,
        "early_weight": early["weight"],
        **({"early_class_weights": weights} if weights else {}),
        "boundary_weight": float(boundary.take("loss_weight", 1.0)),
        "dropout": head.dropout,
        **({"align_corners": True} if head.align_corners else {}),
    }
    if not early["options"]["ignored_in_mean"]:
        raise UnsupportedError(f"{where}: vitrail takes the mean of the early loss over all pixels")
    boundary.pass_over("loss_name")
    for part in (boundary, head):
        part.finish()
    return Translation(model.encoder, head.num_classes, options, [main])


METHODS.add("pidnet", MethodRecord("PIDHead", translate, RENAMING), module=__name__)
