"""The CUDA kernel that finds the best class of each pixel of resized logits without writing the resized logits.

Written in Triton; imported where there is a CUDA device only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vitrail.losses.per_pixel_triton import MAX_CLASSES, block_sizes, row_tables


def supports(logits: Tensor) -> bool:
    """Return whether the kernel can read `logits` [K, h, w]: float32 with few enough classes."""
    return logits.dtype == torch.float32 and logits.shape[0] <= MAX_CLASSES


def best_class(
    rows: Tensor, height: int, *, align_corners: bool, dtype: torch.dtype, with_probability: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the class with the largest logit at each pixel, and its softmax probability.

    Parameters
    ----------
    rows : Tensor [K, h, W]
        Logits that have the width of the result already; float32.
    height : int
        H, to which the rows are resized linearly.
    align_corners : bool
        As in `torch.nn.functional.interpolate`.
    dtype : torch.dtype
        Integer type of the class indices.
    with_probability : bool
        Whether to return the probabilities too.

    Returns
    -------
    Tensor [H, W], Tensor [H, W] or None
        Class indices; float32 probabilities.
    """
    classes, source, width = rows.shape
    rows = rows.permute(1, 2, 0).contiguous()
    labels = torch.empty(height, width, dtype=dtype, device=rows.device)
    probability = torch.empty(height, width, device=rows.device) if with_probability else None
    tables = row_tables(source, height, align_corners, rows.device)
    block_k, block_x = block_sizes(classes, width)
    _best_class[(triton.cdiv(width, block_x), height)](
        rows,
        labels,
        probability,
        tables.above,
        tables.weight,
        classes,
        source,
        width,
        PROBABILITY=with_probability,
        BLOCK_K=block_k,
        BLOCK_X=block_x,
    )
    return labels, probability


@triton.jit
def _best_class(
    rows,
    labels,
    probabilities,
    above,
    below_weight,
    classes,
    source,
    width,
    PROBABILITY: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)
    y = tl.program_id(1)
    k = tl.arange(0, BLOCK_K)
    inside = (x < width)[:, None] & (k < classes)[None, :]
    upper = tl.load(above + y).to(tl.int64)
    lower = tl.minimum(upper + 1, source - 1)
    mix = tl.load(below_weight + y)
    offset = x[:, None] * classes + k[None, :]
    first = tl.load(rows + upper * width * classes + offset, mask=inside, other=0.0)
    second = tl.load(rows + lower * width * classes + offset, mask=inside, other=0.0)
    logits = tl.where((k < classes)[None, :], first * (1 - mix) + second * mix, float("-inf"))
    pixel = y.to(tl.int64) * width + x
    tl.store(labels + pixel, tl.argmax(logits, 1), mask=x < width)
    if PROBABILITY:
        largest = tl.max(logits, 1)
        tl.store(probabilities + pixel, 1 / tl.sum(tl.exp(logits - largest[:, None]), 1), mask=x < width)
