"""A learned factor that starts at zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LearnedScale(nn.Module):
    """Multiplication by one learned number, 0 at first: a residual branch that starts as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a tensor of any shape."""
        return x * self.weight
