"""Bilinear resizing of feature maps and logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def _is_exporting() -> bool:
    """Return whether the model is being exported: then a comparison of sizes would tie the program to these sizes."""
    is_exporting = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return bool(is_exporting and is_exporting())


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to `size` (H, W); returns the map itself when it already has that size."""
    if not _is_exporting() and tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


# From about this many classes on, a softmax over the classes is faster in channels_last than in contiguous layout.
CHANNELS_LAST_FROM = 16


def resize_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize logits [B, K, h, w] to `size` (H, W), in the memory format that is fastest for a softmax over K."""
    few = logits.shape[1] < CHANNELS_LAST_FROM
    layout = torch.contiguous_format if few else torch.channels_last
    return resize(logits.contiguous(memory_format=layout), size, align_corners=align_corners)
