"""Resizing one axis: source positions and weights of linear interpolation, and matrices that interpolate or average.

Bilinear resizing and adaptive average pooling are separable: y = A x Bᵀ, with one matrix for the rows of a map and one
for its columns.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, cast

import torch
from torch import Tensor

from vitrail.layers.layout import is_channels_last


def larger(one: int, other: int) -> int:
    """Return the larger of two sizes, which may be symbolic: `max` would tie a program to the size that it returns."""
    return cast(int, torch.sym_max(one, other))


class Neighbours(NamedTuple):
    """The two source positions around each target position of an axis, and how they are mixed.

    Attributes
    ----------
    first, second : Tensor [target]
        int64 source positions; `second` is `first + 1`, or `first` at the end of the axis.
    weight : Tensor [target]
        The weight of `second`; that of `first` is 1 - weight.
    """

    first: Tensor
    second: Tensor
    weight: Tensor


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def neighbours(source: int, target: int, align_corners: bool, *, double: bool = False) -> Neighbours:
    """Return the neighbours of an axis of `source` positions that is resized to `target`, on the CPU.

    `torch.nn.functional.interpolate` computes them in float32 (for float64 maps in float64: `double`), with one
    rounding for scale × position - 0.5: so does this, since far from the origin that rounding shows in the third digit
    of a weight.
    """
    dtype = torch.float64 if double else torch.float32
    position = torch.arange(target, dtype=torch.float64, device="cpu")
    scale = ((source - 1) / (target - 1) if target > 1 else 0.0) if align_corners else source / target
    scale = torch.tensor(scale, dtype=dtype, device="cpu").item()
    position = position * scale if align_corners else ((position + 0.5) * scale - 0.5).clamp(min=0)
    position = position.to(dtype)
    first = position.long().clamp(max=source - 1)
    second = (first + 1).clamp(max=source - 1)
    return Neighbours(first, second, (position - first).clamp(0, 1))


@functools.lru_cache(maxsize=64)  # up to a few megabytes each
@torch.inference_mode(False)
def interpolation_matrix(
    source: int, target: int, align_corners: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the matrix [target, source] that resizes an axis of `source` positions to `target`."""
    table = neighbours(source, target, align_corners, double=dtype == torch.float64)
    return mixing(table, 0, source).to(device, dtype)


def mixing(table: Neighbours, start: int, stop: int) -> Tensor:
    """Return the matrix [T, stop - start] that mixes T target positions from the source positions start:stop.

    Parameters
    ----------
    table : Neighbours
        Of T target positions, whose neighbours all lie in start:stop.
    start, stop : int
        Source positions.
    """
    first, second, weight = table
    matrix = torch.zeros(len(weight), stop - start, dtype=weight.dtype, device="cpu")
    row = torch.arange(len(weight), device="cpu")
    matrix[row, first - start] = 1 - weight
    matrix[row, second - start] += weight
    return matrix


def averaging_matrix(source: int, target: int, like: Tensor) -> Tensor:
    """Return the matrix [target, source] whose rows average the bins that adaptive pooling divides an axis into.

    Sizes may be symbolic; dtype and device are those of `like`.
    """
    index = torch.arange(target, device=like.device)
    first = (index * source) // target
    last = ((index + 1) * source + target - 1) // target
    position = torch.arange(source, device=like.device)
    inside = torch.logical_and(position >= first[:, None], position < last[:, None]).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def window_matrix(source: int, window: int, stride: int, like: Tensor) -> Tensor:
    """Return the matrix [T, source] whose rows average `window` positions, `stride` apart; all positions if fewer.

    Its products equal `avg_pool2d` with windows of `min(window, source)`. Sizes may be symbolic; dtype and device are
    those of `like`.
    """
    target = larger(source - window, 0) // stride + 1
    first = torch.arange(target, device=like.device)[:, None] * stride
    position = torch.arange(source, device=like.device)
    inside = torch.logical_and(position >= first, position < first + window).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def linear_matrix(source: int, target: int, align_corners: int, like: Tensor) -> Tensor:
    """Return the matrix [target, source] that resizes an axis of `source` positions to `target` linearly.

    Its products equal `interpolate(mode="bilinear")`. Sizes may be symbolic, and so may `align_corners` (0 or 1): the
    same program then does both. Dtype and device are those of `like`.
    """
    dtype = _of_positions(like)
    index = torch.arange(target, dtype=dtype, device=like.device)
    corners = index * ((source - 1) / larger(target - 1, 1))
    centres = ((index + 0.5) * (source / target) - 0.5).clamp(min=0)
    position = align_corners * corners + (1 - align_corners) * centres
    first = position.floor().clamp(max=source - 1)
    weight = (position - first)[:, None]
    step = torch.arange(source, dtype=dtype, device=like.device) - first[:, None]
    last = first[:, None] == source - 1
    return ((step == 0) * torch.where(last, 1.0, 1 - weight) + (step == 1) * weight).to(like.dtype)


def cubic_matrix(source: int, target: int, like: Tensor) -> Tensor:
    """Return the matrix [target, source] that resizes an axis of `source` positions to `target` by cubic convolution.

    Its products equal `interpolate(mode="bicubic", align_corners=False)`: Keys' kernel with a = -0.75 (Keys, "Cubic
    convolution interpolation for digital image processing", 1981, equation 4), positions beyond the ends taken from
    there. Sizes may be symbolic; dtype and device are those of `like`.
    """
    dtype = _of_positions(like)
    position = (torch.arange(target, dtype=dtype, device=like.device) + 0.5) * (source / target) - 0.5
    first = position.floor()
    offset = (position - first)[:, None]
    index = torch.arange(source, dtype=dtype, device=like.device)
    distances = (offset + 1, offset, 1 - offset, 2 - offset)
    matrix = torch.zeros_like(offset * index)
    for step, distance in enumerate(distances, start=-1):
        taken = (first[:, None] + step).clamp(0, source - 1)
        matrix = matrix + _keys_kernel(distance, near=step in (0, 1)) * (index == taken).to(dtype)
    return matrix.to(like.dtype)


def _of_positions(like: Tensor) -> torch.dtype:
    """Return the dtype for positions along an axis: half precision has no whole numbers beyond some hundreds."""
    return torch.promote_types(like.dtype, torch.float32)


def _keys_kernel(distance: Tensor, *, near: bool) -> Tensor:
    """Return the weights of the cubic convolution at distances of up to 1 (`near`), or of 1 to 2."""
    a = -0.75
    if near:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows · x · columnsᵀ for each channel of a map: two matrix products, the one that shrinks more first.

    Parameters
    ----------
    x : Tensor [B, C, h, w]
        Contiguous or channels_last; the result has the same memory format.
    rows, columns : Tensor [H, h], Tensor [W, w]
        In the dtype of `x`.

    Returns
    -------
    Tensor [B, C, H, W]
    """
    batch, channels, height, width = x.shape
    if is_channels_last(x):
        x = x.permute(0, 2, 3, 1)  # [B, h, w, C]
        if len(rows) <= height:
            x = torch.matmul(rows, x.reshape(batch, height, width * channels)).view(batch, len(rows), width, channels)
            return torch.matmul(columns, x).permute(0, 3, 1, 2)
        x = torch.matmul(columns, x)  # [B, h, W, C]
        x = torch.matmul(rows, x.view(batch, height, len(columns) * channels))
        return x.view(batch, len(rows), len(columns), channels).permute(0, 3, 1, 2)
    if len(rows) <= height:
        return torch.matmul(torch.matmul(rows, x), columns.t())
    return torch.matmul(rows, torch.matmul(x, columns.t()))
