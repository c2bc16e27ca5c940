"""Partition of feature maps into attention windows, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.resize import is_variable


def pad_to_multiple(x: Tensor, multiple: Sequence[int], *, dims: tuple[int, int]) -> Tensor:
    """Zero-pad two adjacent dimensions at their ends to multiples.

    In a program for any size, nothing is compared: that would tie it to sizes that are multiples, or to others.
    """
    down, right = (padded(x.shape[dim], length) - x.shape[dim] for dim, length in zip(dims, multiple, strict=True))
    if not is_variable((down, right)) and not down and not right:
        return x
    trailing = [0] * (2 * (x.dim() - 1 - dims[1]))
    return F.pad(x, [*trailing, 0, right, 0, down])


def padded(length: int, multiple: int) -> int:
    """Return the next multiple of `multiple` from `length` on.

    It is written as a multiple, so that torch.export sees that it is divided without a rest: with
    `length + -length % multiple`, tracing a Swin transformer for any size did not end within minutes.
    """
    return ceil_divide(length, multiple) * multiple


def ceil_divide(length: int, size: int) -> int:
    """Return length / size, rounded up. ONNX rounds quotients of negative numbers otherwise than Python."""
    return (length + size - 1) // size


def to_windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """Partition [B, h, w, C] into [B, n, N, C]: n windows of N positions."""
    batch, height, width, channels = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x.view(batch, rows, window[0], columns, window[1], channels)
    return x.transpose(2, 3).reshape(batch, rows * columns, window[0] * window[1], channels)


def from_windows(x: Tensor, window: Sequence[int], size: Sequence[int]) -> Tensor:
    """Merge windows [B, n, N, C] into [B, h, w, C]."""
    x = x.view(x.shape[0], size[0] // window[0], size[1] // window[1], window[0], window[1], x.shape[-1])
    return x.transpose(2, 3).reshape(x.shape[0], size[0], size[1], x.shape[-1])
