"""Sine position encodings of feature maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def sine_position_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Return sine position encodings [1, channels, height, width]: half of the channels for y, half for x.

    Parameters
    ----------
    height, width : int
        Size of the feature map. Positions are normalised to 0…2π, whatever the size.
    channels : int
        A multiple of 4.
    like : Tensor
        The result has its device and dtype.

    References
    ----------
    Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv:2005.12872.
    """
    half = channels // 2
    # sines of high frequencies need float32, whatever the dtype of the features
    exponent = torch.arange(half, device=like.device, dtype=torch.float32).div(2, rounding_mode="floor") * 2 / half
    periods = _TEMPERATURE**exponent  # [half]: each twice, for a sine and a cosine
    y = _waves(height, periods)[:, :, None].expand(half, height, width)
    x = _waves(width, periods)[:, None, :].expand(half, height, width)
    return torch.cat([y, x]).unsqueeze(0).to(like.dtype)


def _waves(length: int, periods: Tensor) -> Tensor:
    """Return [half, length]: sines in the even rows, cosines in the odd ones."""
    position = torch.arange(1, length + 1, device=periods.device, dtype=torch.float32)
    angle = (position / (length + 1e-6) * 2 * math.pi) / periods[:, None]
    return torch.stack([angle[0::2].sin(), angle[1::2].cos()], dim=1).flatten(0, 1)
