"""Partition of feature maps into attention windows, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(x: Tensor, multiple: Sequence[int], *, dims: tuple[int, int]) -> Tensor:
    """Zero-pad two adjacent dimensions at their ends to multiples."""
    down = -x.shape[dims[0]] % multiple[0]
    right = -x.shape[dims[1]] % multiple[1]
    if not down and not right:
        return x
    trailing = [0] * (2 * (x.dim() - 1 - dims[1]))
    return F.pad(x, [*trailing, 0, right, 0, down])


def to_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """Partition [B, h, w, C] into [B, n, N, C]: n windows of N positions."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window[0], window[0], width // window[1], window[1], channels)
    return x.transpose(2, 3).reshape(batch, -1, window[0] * window[1], channels)


def from_windows(x: Tensor, window: Sequence[int], size: Sequence[int]) -> Tensor:
    """Merge windows [B, n, N, C] into [B, h, w, C]."""
    x = x.view(x.shape[0], size[0] // window[0], size[1] // window[1], window[0], window[1], -1)
    return x.transpose(2, 3).reshape(x.shape[0], size[0], size[1], -1)
