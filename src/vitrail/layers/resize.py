"""Bilinear resizing of feature maps and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.interpolation import interpolation_matrix, separable
from vitrail.layers.layout import is_channels_last


def is_exporting() -> bool:
    """Return whether the model is being exported: then a comparison of sizes would tie the program to these sizes."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return bool(exporting and exporting())


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to `size` (H, W); returns the map itself when it already has that size.

    On CUDA the gradient is computed as two matrix products: PyTorch's own adds atomically, which is slow in half
    precision and differs from run to run.
    """
    if not is_exporting() and tuple(x.shape[-2:]) == tuple(size):
        return x
    if x.is_cuda and x.requires_grad and torch.is_grad_enabled():
        resized: Tensor = torch.ops.vitrail.resize_bilinear(x, size[0], size[1], align_corners)
        return resized
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def enlarge(x: Tensor, factor: int, *, align_corners: bool = False) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to [B, C, factor × h, factor × w]."""
    return resize(x, (factor * x.shape[-2], factor * x.shape[-1]), align_corners=align_corners)


# From about this many classes on, a softmax over the classes is faster in channels_last than in contiguous layout.
CHANNELS_LAST_FROM = 16


def resize_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize logits [B, K, h, w] to `size` (H, W), in the memory format that is fastest for a softmax over K."""
    few = logits.shape[1] < CHANNELS_LAST_FROM
    layout = torch.contiguous_format if few else torch.channels_last
    return resize(logits.contiguous(memory_format=layout), size, align_corners=align_corners)


# A custom operator, so that torch.compile does not replace the gradient by atomic additions of its own.
@torch.library.custom_op("vitrail::resize_bilinear", mutates_args=())
def _resize_bilinear(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=align_corners)


@_resize_bilinear.register_fake
def _(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=align_corners)


@torch.library.custom_op("vitrail::resize_bilinear_backward", mutates_args=())
def _resize_bilinear_backward(gradient: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    """Return the gradient [B, C, height, width] of the map that was resized, given that of the result."""
    rows, columns = (
        interpolation_matrix(source, target, align_corners, gradient.device, gradient.dtype).t()
        for source, target in zip((height, width), gradient.shape[-2:], strict=True)
    )
    return separable(gradient, rows, columns)


@_resize_bilinear_backward.register_fake
def _(gradient: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    result = gradient.new_empty(*gradient.shape[:2], height, width)
    channels_last = is_channels_last(gradient)
    return result.contiguous(memory_format=torch.channels_last) if channels_last else result


def _save_shape(ctx: Any, inputs: tuple[Tensor, int, int, bool], output: Tensor) -> None:
    ctx.size, ctx.align_corners = inputs[0].shape[-2:], inputs[3]


def _resize_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return torch.ops.vitrail.resize_bilinear_backward(gradient, *ctx.size, ctx.align_corners), None, None, None


_resize_bilinear.register_autograd(_resize_gradient, setup_context=_save_shape)
