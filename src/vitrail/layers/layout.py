"""Memory layouts of maps: plain, or channels last."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of maps [B, C, h, w] lie side by side; a map of one pixel or channel counts as plain."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def in_layout_of(x: Tensor, like: Tensor) -> Tensor:
    """Return maps [B, C, h, w] in the memory layout of others, so that joining the two copies neither again.

    What comes of pooled maps needs it: a map of one pixel counts as plain, and operations on it leave a plain one.
    """
    layout = torch.channels_last if is_channels_last(like) else torch.contiguous_format
    return x.contiguous(memory_format=layout)
