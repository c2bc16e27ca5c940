"""Resizing of feature maps and logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to `size` (H, W); a map that already has the size is returned as it is."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


# From about this many classes a softmax is faster over classes that lie side by side in memory than over planes.
CLASSES_LAST_FROM = 16


def resize_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize logits [B, K, h, w] to `size` (H, W), in the memory layout in which a loss over the classes is fastest."""
    few = logits.shape[1] < CLASSES_LAST_FROM
    layout = torch.contiguous_format if few else torch.channels_last
    return resize(logits.contiguous(memory_format=layout), size, align_corners=align_corners)
