"""Padding of crops that came out too small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.labels import IGNORE
from vitrail.transforms.sizes import Size


def pad_to(image: Tensor, mask: Tensor, size: Size, fill: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pad at the bottom and the right up to `size`: uint8 [3, H, W] with a colour, [H, W] with 255."""
    height, width = mask.shape
    if height >= size[0] and width >= size[1]:
        return image, mask
    shape = max(height, size[0]), max(width, size[1])
    padded_image = torch.tensor(fill, dtype=torch.uint8)[:, None, None].repeat(1, *shape)
    padded_mask = torch.full(shape, IGNORE, dtype=torch.uint8)
    padded_image[:, :height, :width] = image
    padded_mask[:height, :width] = mask
    return padded_image, padded_mask
