"""Normalisation, which happens on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation, channel by channel.

    Parameters
    ----------
    mean, std : sequence of float
        Of RGB in 0…255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels but std has {len(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 of the same shape for [B, C, H, W] in 0…255 of any type."""
        return images.to(torch.float32).sub(self.mean).div_(self.std)
