"""Bilinear resizing of feature maps and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.interpolation import interpolation_matrix, linear_matrix, separable
from vitrail.layers.layout import is_channels_last
from vitrail.layers.operators import gradient_operator, operator


def is_exporting() -> bool:
    """Return whether the model is being exported: then a comparison of sizes would tie the program to these sizes."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return bool(exporting and exporting())


def is_variable(sizes: Sequence[int]) -> bool:
    """Return whether one of the sizes is variable in a program that is being exported: what compares it fixes it."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


def _are_equal(sizes: Sequence[int], others: Sequence[int]) -> bool:
    """Return whether sizes are equal; in a program that is exported, whether they are for images of every size."""
    if not is_exporting():
        return tuple(sizes) == tuple(others)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # which takes long to import

    return all(statically_known_true(size == other) for size, other in zip(sizes, others, strict=True))


# The arithmetic of a matrix product grows with the side of the map, that of `interpolate` does not; larger maps than
# this are of large images in prediction, where no gradient is needed.
_MAX_SIDE = 512


def needs_gradient(x: Tensor) -> bool:
    """Return whether operations on `x` are recorded for a backward pass."""
    return x.requires_grad and torch.is_grad_enabled()


def empty_map(x: Tensor, height: int, width: int) -> Tensor:
    """Return an empty map [B, C, height, width] in the memory format of `x`."""
    layout = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return x.new_empty(*x.shape[:2], height, width).contiguous(memory_format=layout)


def _empty_result(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    return empty_map(x, height, width)


@gradient_operator("resize_bilinear_backward", fake=_empty_result)
def _resize_bilinear_backward(gradient: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    """Return the gradient [B, C, height, width] of the map that was resized, given that of the result."""
    rows, columns = (
        interpolation_matrix(source, target, align_corners, gradient.device, gradient.dtype).t()
        for source, target in zip((height, width), gradient.shape[-2:], strict=True)
    )
    return separable(gradient, rows, columns)


def _save_shape(ctx: Any, inputs: tuple[Tensor, int, int, bool], output: Tensor) -> None:
    ctx.size, ctx.align_corners = inputs[0].shape[-2:], inputs[3]


def _resize_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    height, width = ctx.size
    return _resize_bilinear_backward(gradient, height, width, ctx.align_corners), None, None, None


@operator("resize_bilinear", fake=_empty_result, save=_save_shape, gradient=_resize_gradient)
def resize_by_products(x: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to [B, C, height, width] by two matrix products, in its memory format."""
    rows, columns = (
        interpolation_matrix(source, target, align_corners, x.device, x.dtype)
        for source, target in zip(x.shape[-2:], (height, width), strict=True)
    )
    return separable(x, rows, columns)


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Resize a map [B, C, h, w] bilinearly to `size` (H, W); returns the map itself when it already has that size.

    On CUDA it is computed as two matrix products, in both directions: the gradient of PyTorch's own adds atomically,
    which is slow in half precision and differs from run to run. Large maps without a gradient are left to PyTorch.
    """
    if _are_equal(x.shape[-2:], size):
        return x
    if x.is_cuda and (needs_gradient(x) or (not is_exporting() and max(x.shape[-2:]) <= _MAX_SIDE)):
        return resize_by_products(x, size[0], size[1], align_corners)
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


def resize_variable(x: Tensor, size: Sequence[int], *, align_corners: int) -> Tensor:
    """Resize a map as `resize` does, where a program for any size has to do what `interpolate` does for some only.

    In such a program, the map may have a side of one pixel, and whether corners are aligned may depend on the sizes.

    Parameters
    ----------
    x : Tensor [B, C, h, w]
        The map.
    size : (int, int)
        H and W.
    align_corners : bool or int
        0 or 1; in a program that is exported it may be variable.
    """
    if not is_variable((*x.shape[-2:], *size)):
        return resize(x, size, align_corners=bool(align_corners))
    rows, columns = (
        linear_matrix(source, target, align_corners, x) for source, target in zip(x.shape[-2:], size, strict=True)
    )
    return rows @ x @ columns.transpose(0, 1)


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
