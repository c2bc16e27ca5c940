"""Images that are smaller than encoders take: padded before they go through the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 32  # pixels of height and width from which every encoder works


def pad_small(images: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """Pad small images to `SMALLEST` pixels of height and width.

    The last row and column are repeated, below and to the right. The upper left corner of the result is that of the
    image.

    Parameters
    ----------
    images : sequence of Tensor [C, h, w]
        Those that are large enough are returned as they are.
    sizes : sequence of (int, int)
        Height and width of each result.

    Returns
    -------
    list of Tensor [C, h', w']
        The padded images.
    list of (int, int)
        The size of each result with the part of it that belongs to the padding.
    """
    padded = [_repeat_edge(_repeat_edge(image, 1), 2) for image in images]
    enlarged = [
        (_enlarged(size[0], image.shape[1]), _enlarged(size[1], image.shape[2]))
        for image, size in zip(images, sizes, strict=True)
    ]
    return padded, enlarged


def _repeat_edge(image: Tensor, dim: int) -> Tensor:
    side = image.shape[dim]
    if side >= SMALLEST:
        return image
    return image.index_select(dim, torch.arange(SMALLEST, device=image.device).clamp(max=side - 1))


def _enlarged(size: int, side: int) -> int:
    return size if side >= SMALLEST else -(-size * SMALLEST // side)
