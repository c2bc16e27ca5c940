"""Adaptive average pooling with a fast and deterministic gradient on CUDA."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.layers.interpolation import averaging_matrix, separable
from vitrail.layers.layout import is_channels_last
from vitrail.layers.resize import is_exporting


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
        if x.is_cuda and self.size > 1 and not is_exporting():
            pooled: Tensor = torch.ops.vitrail.adaptive_average(x, self.size)
            return pooled
        return super().forward(x)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def _matrix(source: int, target: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    like = torch.empty(0, device=device, dtype=torch.promote_types(dtype, torch.float32))
    return averaging_matrix(source, target, like).to(dtype)


# Custom operators, so that torch.compile does not trace how the matrices are made.
@torch.library.custom_op("vitrail::adaptive_average", mutates_args=())
def _adaptive_average(x: Tensor, size: int) -> Tensor:
    rows, columns = (_matrix(length, size, x.device, x.dtype) for length in x.shape[-2:])
    return separable(x, rows, columns)


@_adaptive_average.register_fake
def _(x: Tensor, size: int) -> Tensor:
    return _empty_like(x, size, size)


@torch.library.custom_op("vitrail::adaptive_average_backward", mutates_args=())
def _adaptive_average_backward(gradient: Tensor, height: int, width: int) -> Tensor:
    size, device, dtype = gradient.shape[-1], gradient.device, gradient.dtype
    rows, columns = (_matrix(length, size, device, dtype).t() for length in (height, width))
    return separable(gradient, rows, columns)


@_adaptive_average_backward.register_fake
def _(gradient: Tensor, height: int, width: int) -> Tensor:
    return _empty_like(gradient, height, width)


def _empty_like(x: Tensor, height: int, width: int) -> Tensor:
    layout = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return x.new_empty(*x.shape[:2], height, width).contiguous(memory_format=layout)


def _save_size(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.size = inputs[0].shape[-2:]


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return torch.ops.vitrail.adaptive_average_backward(gradient, *ctx.size), None


_adaptive_average.register_autograd(_gradient, setup_context=_save_size)
