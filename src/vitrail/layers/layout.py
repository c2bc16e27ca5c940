"""Memory formats of feature maps: contiguous (NCHW) or channels_last (NHWC)."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Return whether a map [B, C, h, w] is channels_last; one of a single pixel or channel counts as contiguous."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def in_layout_of(x: Tensor, like: Tensor) -> Tensor:
    """Return `x` [B, C, h, w] in the memory format of `like`, so that concatenating the two copies neither again.

    Needed after global pooling: a 1×1 map counts as contiguous, so results computed from it lose channels_last.
    """
    layout = torch.channels_last if is_channels_last(like) else torch.contiguous_format
    return x.contiguous(memory_format=layout)
