"""The CUDA kernels of `vitrail.losses.per_pixel`, in Triton; imported where there is a CUDA device only.

A program computes a few neighbouring pixels of one row, all classes of a pixel at once: logits are read from the two
rows around it and never written. The gradient is gathered: a program sums what the rows of the targets contribute to
its pixels of a source row, so that nothing is added atomically and results are the same from run to run.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vitrail.labels import ignore_index
from vitrail.layers.interpolation import neighbours

MAX_CLASSES = 8192  # of one pixel in a program's registers
_PROGRAM_VALUES = 1024  # classes × pixels of a program


def supports(rows: Tensor) -> bool:
    """Return whether the kernels can compute the losses of `rows` [B, K, h, W]: float32 with few enough classes."""
    return rows.dtype == torch.float32 and rows.shape[1] <= MAX_CLASSES


def forward(
    rows: Tensor, targets: Tensor, weights: Tensor, keep: float, spread: float, binary: bool, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Return loss and log-sum-exp [B, H, W]; see `vitrail.losses.per_pixel`."""
    batch, classes, source, width = rows.shape
    height = targets.shape[1]
    rows = rows.contiguous(memory_format=torch.channels_last)
    loss = rows.new_empty(targets.shape)
    lse = rows.new_empty(targets.shape)
    tables = row_tables(source, height, align_corners, rows.device)
    block_k, block_x = block_sizes(classes, width)
    _forward[(triton.cdiv(width, block_x), source, batch)](
        rows,
        targets.contiguous(),
        weights,
        weights.sum(),
        loss,
        lse,
        tables.weight,
        tables.first,
        tables.stop,
        classes,
        source,
        height,
        width,
        keep,
        spread,
        BINARY=binary,
        SMOOTH=spread != 0,
        IGNORED=ignore_index(classes),
        BLOCK_K=block_k,
        BLOCK_X=block_x,
    )
    return loss, lse


def backward(
    gradient: Tensor,
    rows: Tensor,
    targets: Tensor,
    weights: Tensor,
    lse: Tensor,
    keep: float,
    spread: float,
    binary: bool,
    align_corners: bool,
) -> Tensor:
    """Return the gradient of `rows`; see `vitrail.losses.per_pixel`."""
    batch, classes, source, width = rows.shape
    height = targets.shape[1]
    rows = rows.contiguous(memory_format=torch.channels_last)
    result = torch.empty_like(rows)
    tables = row_tables(source, height, align_corners, rows.device)
    block_k, block_x = block_sizes(classes, width)
    _backward[(triton.cdiv(width, block_x), source, batch)](
        gradient,
        rows,
        targets.contiguous(),
        weights,
        weights.sum(),
        lse,
        result,
        tables.above,
        tables.weight,
        tables.start,
        tables.stop,
        classes,
        source,
        height,
        width,
        keep,
        spread,
        BINARY=binary,
        SMOOTH=spread != 0,
        IGNORED=ignore_index(classes),
        BLOCK_K=block_k,
        BLOCK_X=block_x,
    )
    return result


def block_sizes(classes: int, width: int) -> tuple[int, int]:
    """Return the classes (a power of 2, all of them) and the pixels of a program."""
    block_k = triton.next_power_of_2(classes)
    return block_k, max(1, min(_PROGRAM_VALUES // block_k, triton.next_power_of_2(width)))


class RowTables(NamedTuple):
    """How the rows of the targets are mixed from the rows of the source, on the device.

    Attributes
    ----------
    above, weight : Tensor [H]
        The source row above each row of the targets, and the weight of the one below it.
    start, first, stop : Tensor [h]
        Rows first:stop of the targets lie below a source row, rows start:stop are mixed from it.
    """

    above: Tensor
    weight: Tensor
    start: Tensor
    first: Tensor
    stop: Tensor


@functools.lru_cache(maxsize=256)
@torch.inference_mode(False)
def row_tables(source: int, height: int, align_corners: bool, device: torch.device) -> RowTables:
    """Return the tables of maps of `source` rows that are resized to `height`."""
    above, below, weight = neighbours(source, height, align_corners)
    index = torch.arange(source, device="cpu")
    start = torch.searchsorted(below, index)
    first, stop = torch.searchsorted(above, index), torch.searchsorted(above, index, right=True)
    return RowTables(*(table.to(device) for table in (above.int(), weight, start.int(), first.int(), stop.int())))


@triton.jit
def _forward(
    rows,
    targets,
    weights,
    weight_sum,
    losses,
    lses,
    below_weight,
    starts,
    stops,
    classes,
    source,
    height,
    width,
    keep,
    spread,
    BINARY: tl.constexpr,
    SMOOTH: tl.constexpr,
    IGNORED: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)
    row = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    inside = (x < width)[:, None] & (k < classes)[None, :]
    stride = width * classes
    base = rows + image * source * stride + x[:, None] * classes + k[None, :]
    first = tl.load(base + row * stride, mask=inside, other=0.0)
    second = tl.load(base + tl.minimum(row + 1, source - 1) * stride, mask=inside, other=0.0)
    weight = tl.load(weights + k, mask=k < classes, other=0.0)
    for y in range(tl.load(starts + row), tl.load(stops + row)):
        mix = tl.load(below_weight + y)
        logits = first * (1 - mix) + second * mix  # [BLOCK_X, BLOCK_K]
        pixel = (image * height + y) * width + x
        target = tl.load(targets + pixel, mask=x < width, other=IGNORED).to(tl.int32)
        valid = target != IGNORED
        own = tl.sum(tl.where(k[None, :] == target[:, None], logits, 0.0), 1)
        own_weight = tl.load(weights + target, mask=valid & (target < classes), other=0.0)
        if BINARY:
            softplus = tl.maximum(logits, 0.0) + tl.log(1 + tl.exp(-tl.abs(logits)))
            loss = tl.sum(softplus * weight[None, :], 1) - own_weight * own
        else:
            filled = tl.where((k < classes)[None, :], logits, float("-inf"))
            largest = tl.max(filled, 1)
            lse = largest + tl.log(tl.sum(tl.exp(filled - largest[:, None]), 1))
            loss = keep * own_weight * (lse - own)
            if SMOOTH:
                loss += spread * (tl.load(weight_sum) * lse - tl.sum(logits * weight[None, :], 1))
            tl.store(lses + pixel, lse, mask=x < width)
        # A target that is no class makes the loss NaN, which training reports.
        loss = tl.where(valid, tl.where(target < classes, loss, float("nan")), 0.0)
        tl.store(losses + pixel, loss, mask=x < width)


@triton.jit
def _backward(
    gradients,
    rows,
    targets,
    weights,
    weight_sum,
    lses,
    results,
    above,
    below_weight,
    starts,
    stops,
    classes,
    source,
    height,
    width,
    keep,
    spread,
    BINARY: tl.constexpr,
    SMOOTH: tl.constexpr,
    IGNORED: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)
    row = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    inside = (x < width)[:, None] & (k < classes)[None, :]
    offset = x[:, None] * classes + k[None, :]
    stride = width * classes
    base = rows + image * source * stride + offset
    upper = tl.load(base + tl.maximum(row - 1, 0) * stride, mask=inside, other=0.0)
    own = tl.load(base + row * stride, mask=inside, other=0.0)
    lower = tl.load(base + tl.minimum(row + 1, source - 1) * stride, mask=inside, other=0.0)
    weight = tl.load(weights + k, mask=k < classes, other=0.0)
    total = tl.zeros([BLOCK_X, BLOCK_K], dtype=tl.float32)
    if SMOOTH:
        smoothing = spread * tl.load(weight_sum)
    for y in range(tl.load(starts + row), tl.load(stops + row)):
        mix = tl.load(below_weight + y)
        from_here = tl.load(above + y) == row  # else the row above the target is the one above this row
        share = tl.where(from_here, 1 - mix, mix)
        if row == source - 1:
            share = tl.where(from_here, 1.0, mix)  # the last row is its own lower neighbour
        logits = tl.where(from_here, own * (1 - mix) + lower * mix, upper * (1 - mix) + own * mix)
        pixel = (image * height + y) * width + x
        target = tl.load(targets + pixel, mask=x < width, other=IGNORED).to(tl.int32)
        valid = target != IGNORED
        gradient = tl.load(gradients + pixel, mask=valid & (x < width), other=0.0)
        own_weight = tl.load(weights + target, mask=valid & (target < classes), other=0.0) * keep
        hit = k[None, :] == target[:, None]
        if BINARY:
            slope = weight[None, :] / (1 + tl.exp(-logits)) - tl.where(hit, own_weight[:, None], 0.0)
        else:
            lse = tl.load(lses + pixel, mask=x < width, other=0.0)
            slope = tl.exp(logits - lse[:, None])
            if SMOOTH:
                slope = slope * (own_weight + smoothing)[:, None] - spread * weight[None, :]
            else:
                slope = slope * own_weight[:, None]
            slope -= tl.where(hit, own_weight[:, None], 0.0)
        total += (share * gradient)[:, None] * slope
    tl.store(results + image * source * stride + row * stride + offset, total, mask=inside)
