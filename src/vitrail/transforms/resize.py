"""Resizing of images and masks, without antialiasing as the published models were trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vitrail.transforms.sizes import Size


def resize_image(image: Tensor, size: Size) -> Tensor:
    """Resize uint8 [3, H, W] to `size` by bilinear interpolation."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.resize_image(image, list(size), InterpolationMode.BILINEAR, antialias=False)


class ResizedMask:
    """A mask at another size, of which only the parts that are asked for are ever made.

    Each pixel is the one of the mask that it falls on: nearest-neighbour interpolation as in OpenCV and PyTorch.

    Parameters
    ----------
    mask : Tensor
        uint8 [H, W].
    size : (int, int)
        (height, width) to resize to.
    """

    def __init__(self, mask: Tensor, size: Size) -> None:
        self.size = size
        self._mask = mask.numpy()
        self._rows = _nearest(mask.shape[0], size[0])
        self._columns = _nearest(mask.shape[1], size[1])

    def crop(self, top: int, left: int, size: Size) -> Tensor:
        """Return the part of `size` at (top, left), cut off at the border."""
        rows, columns = self._rows[top : top + size[0]], self._columns[left : left + size[1]]
        return torch.from_numpy(self._mask.take(rows, axis=0).take(columns, axis=1))


def _nearest(length: int, target: int) -> np.ndarray:
    return np.arange(target) * length // target
