"""Hamburger: global context from a matrix factorization of the map (Geng et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.convolution import conv_group_norm

_EPS = 1e-6


class NonNegativeFactorization(nn.Module):
    """Non-negative factorization of a map into a few vectors and how much of each a pixel has, put together again.

    Multiplicative updates from random vectors. In training these are drawn for every image; in evaluation they are
    always the same, so that predictions are reproducible: numbers of PyTorch's CPU generator with a fixed seed.
    MMSegmentation draws them anew for every prediction.

    Parameters
    ----------
    channels : int
        C, the channels of the map.
    rank : int
        R, the number of vectors.
    steps, eval_steps : int
        How often both are updated in training and in evaluation.

    References
    ----------
    Geng et al., "Is Attention Better Than Matrix Decomposition?", ICLR 2021, arXiv:2109.04553, section 3.2.
    """

    bases: Tensor

    def __init__(self, channels: int, rank: int, *, steps: int = 6, eval_steps: int = 7) -> None:
        super().__init__()
        self.steps = steps
        self.eval_steps = eval_steps
        drawn = torch.rand(channels, rank, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        self.register_buffer("bases", drawn, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] of numbers that are not negative to their approximation of rank R, in the same shape."""
        with torch.autocast(x.device.type, enabled=False):  # products of many small numbers
            pixels = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))  # [B, C, N]
            bases = F.normalize(self._drawn(pixels), dim=1)  # [B, C, R]
            shares = torch.bmm(pixels.transpose(1, 2), bases).softmax(dim=2)  # [B, N, R]
            for _ in range(self.steps if self.training else self.eval_steps):
                shares = _updated(shares, pixels.transpose(1, 2), bases)
                bases = _updated(bases, pixels, shares)
            shares = _updated(shares, pixels.transpose(1, 2), bases)
            return torch.bmm(bases, shares.transpose(1, 2)).unflatten(2, x.shape[-2:]).to(x.dtype)

    def _drawn(self, pixels: Tensor) -> Tensor:
        if self.training:
            return torch.rand(pixels.shape[0], *self.bases.shape, dtype=pixels.dtype, device=pixels.device)
        return self.bases.to(pixels.dtype).expand(pixels.shape[0], -1, -1)


def _updated(factor: Tensor, product: Tensor, other: Tensor) -> Tensor:
    """Return the multiplicative update of `factor` [B, M, R], where `product` [B, M, N] ≈ factor · otherᵀ."""
    fitted = torch.bmm(factor, torch.bmm(other.transpose(1, 2), other))
    return factor * torch.bmm(product, other) / (fitted + _EPS)


class Hamburger(nn.Module):
    """A factorization between two 1×1 convolutions, added to the map.

    Parameters
    ----------
    channels : int
        Channels of the map; a multiple of 32.
    rank, steps, eval_steps
        See `NonNegativeFactorization`.
    """

    def __init__(self, channels: int, rank: int, *, steps: int = 6, eval_steps: int = 7) -> None:
        super().__init__()
        self.lower = nn.Conv2d(channels, channels, 1)
        self.factorization = NonNegativeFactorization(channels, rank, steps=steps, eval_steps=eval_steps)
        self.upper = conv_group_norm(channels, channels, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return (x + self.upper(self.factorization(self.lower(x).relu()))).relu()
