"""Helpers of the pixel losses: ignored pixels, precision, class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.labels import ignore_index


def split_ignored(targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return int64 targets with 0 in place of the ignored label, and a bool mask that is False at ignored pixels."""
    valid = targets != ignore_index(num_classes)
    return targets.masked_fill(~valid, 0).long(), valid


def classes_present(targets: Tensor, num_classes: int) -> Tensor:
    """Return bool [B, K], True for the classes that occur in each of the targets [B, H, W]."""
    labels, valid = split_ignored(targets.flatten(1), num_classes)
    labels = torch.where(valid, labels, num_classes).clamp(max=num_classes)
    marks = torch.zeros(len(labels), num_classes + 1, dtype=torch.bool, device=labels.device)
    return marks.scatter_(1, labels, True)[:, :num_classes]


def in_full_precision(logits: Tensor) -> Tensor:
    """Return logits in at least float32: sums over many pixels overflow or lose precision in half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def class_weight_tensor(class_weights: Sequence[float] | str | None) -> Tensor | None:
    """Return the class weights as a float32 tensor [K], or None.

    Raises
    ------
    ModelError
        For names, which only a training can compute, and for numbers with which nothing could be learned.
    """
    if isinstance(class_weights, str):
        raise ModelError(
            f"class_weights={class_weights!r} is computed from the masks when a model is trained; give one number per "
            "class here"
        )
    if class_weights is None:
        return None
    if not all(math.isfinite(weight) and weight >= 0 for weight in class_weights) or not any(class_weights):
        raise ModelError(
            f"class_weights are finite numbers from 0 on, and one at least is above 0, not {list(class_weights)}"
        )
    return torch.tensor(class_weights, dtype=torch.float32)


def check_class_weights(class_weights: Tensor | None, logits: Tensor) -> None:
    """Raise ModelError unless there is one weight per class of the logits [B, K, H, W]."""
    if class_weights is not None and len(class_weights) != logits.shape[1]:
        raise ModelError(
            f"class_weights has {len(class_weights)} entries, but the model predicts {logits.shape[1]} classes; "
            "give one weight per class"
        )
