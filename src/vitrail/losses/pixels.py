"""What every loss needs to know about pixels: which are ignored, and in which precision to sum over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.labels import IGNORE
from vitrail.layers.layout import is_channels_last


def split_ignored(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets that can index classes (0 where ignored), and a mask that is True where a pixel counts."""
    valid = targets != IGNORE
    return targets.masked_fill(~valid, 0).long(), valid


def in_full_precision(logits: Tensor) -> Tensor:
    """Return logits in at least float32: sums over half a million pixels overflow or stall in half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def flatten_pixels(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [N, K] and targets [N] as views where the classes lie side by side in memory, else as they are.

    A softmax over planes of channels-last logits would copy them first; over rows it reads them as they lie.
    """
    if is_channels_last(logits):
        return logits.permute(0, 2, 3, 1).flatten(0, 2), targets.flatten()
    return logits, targets


def class_weight_tensor(class_weights: Sequence[float] | None) -> Tensor | None:
    """Return one weight per class as a tensor, for a non-persistent buffer."""
    return None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)


def check_class_weights(class_weights: Tensor | None, logits: Tensor) -> None:
    """Raise ModelError when there is not one weight per class of the logits [B, K, H, W]."""
    if class_weights is not None and len(class_weights) != logits.shape[1]:
        raise ModelError(
            f"class_weights has {len(class_weights)} entries, but the model predicts {logits.shape[1]} classes; "
            "give one weight per class"
        )
