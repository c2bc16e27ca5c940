"""Padding of images and masks that are smaller than the crop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.labels import ignore_index_of
from vitrail.transforms.sizes import Size


def pad_to(image: Tensor, mask: Tensor, size: Size, fill: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pad image and mask at the bottom and right to at least `size`.

    Parameters
    ----------
    image : Tensor
        uint8 [3, H, W].
    mask : Tensor
        uint8 or int16 [H, W]; padded with the ignored label.
    size : (int, int)
        Smallest (height, width) of the result.
    fill : sequence of int
        RGB colour with which the image is padded.
    """
    height, width = mask.shape
    if height >= size[0] and width >= size[1]:
        return image, mask
    shape = max(height, size[0]), max(width, size[1])
    padded_image = torch.tensor(fill, dtype=torch.uint8)[:, None, None].repeat(1, *shape)
    padded_mask = torch.full(shape, ignore_index_of(mask), dtype=mask.dtype)
    padded_image[:, :height, :width] = image
    padded_mask[:height, :width] = mask
    return padded_image, padded_mask
