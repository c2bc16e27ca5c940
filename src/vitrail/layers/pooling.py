"""Adaptive pooling: averages with a fast and deterministic gradient on CUDA, and maxima that can be exported."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.interpolation import averaging_matrix, separable
from vitrail.layers.operators import gradient_operator, operator
from vitrail.layers.resize import empty_map, is_exporting, needs_gradient


class AdaptiveAveragePool(nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` of one size for height and width, which on CUDA is computed as two matrix products.

    PyTorch's own reads channels_last maps slowly, and its gradient adds atomically: it differs from run to run.

    Parameters
    ----------
    size : int
        Height and width of the result.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Average the bins of a map [B, C, h, w]: [B, C, size, size]."""
        if not x.is_cuda or (is_exporting() and not needs_gradient(x)):
            return super().forward(x)
        if self.size == 1:
            return x.mean((2, 3), keepdim=True)
        return average_by_products(x, self.size)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def _matrix(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    like = torch.empty(0, device=device, dtype=torch.promote_types(dtype, torch.float32))
    return averaging_matrix(source, target, like).to(dtype)


def _fake_gradient(gradient: Tensor, height: int, width: int) -> Tensor:
    return empty_map(gradient, height, width)


@gradient_operator("adaptive_average_backward", fake=_fake_gradient)
def _adaptive_average_backward(gradient: Tensor, height: int, width: int) -> Tensor:
    size, device, dtype = gradient.shape[-1], gradient.device, gradient.dtype
    rows, columns = (_matrix(length, size, device, dtype).t() for length in (height, width))
    return separable(gradient, rows, columns)


def _fake(x: Tensor, size: int) -> Tensor:
    return empty_map(x, size, size)


def _save_size(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.size = inputs[0].shape[-2:]


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return _adaptive_average_backward(gradient, *ctx.size), None


@operator("adaptive_average", fake=_fake, save=_save_size, gradient=_gradient)
def average_by_products(x: Tensor, size: int) -> Tensor:
    """Average the bins of a map [B, C, h, w] to [B, C, size, size] by two matrix products, in its memory format."""
    rows, columns = (_matrix(length, size, x.device, x.dtype) for length in x.shape[-2:])
    return separable(x, rows, columns)


def adaptive_max(x: Tensor, size: tuple[int, int], longest: int) -> Tensor:
    """Return the maxima of the bins of a map [B, C, h, w]: [B, C, *size], as `torch.nn.AdaptiveMaxPool2d`.

    That one ties an exported program to the size; there, rows and columns are gathered instead. No bin may be longer
    than `longest`.
    """
    if not is_exporting():
        return F.adaptive_max_pool2d(x, size)
    for dim, count in zip((2, 3), size, strict=True):
        length = x.shape[dim]
        number = torch.arange(count, device=x.device)
        first, last = number * length // count, ((number + 1) * length + count - 1) // count - 1
        places = [torch.minimum(first + step, last) for step in range(longest)]
        x = functools.reduce(torch.maximum, [x.index_select(dim, place) for place in places])
    return x
