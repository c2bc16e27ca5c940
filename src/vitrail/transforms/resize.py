"""Resizing of images and masks; without antialiasing unless asked for, as in the training of the published models."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vitrail.transforms.sizes import Size


def resize_image(image: Tensor, size: Size, *, antialias: bool = False) -> Tensor:
    """Resize uint8 [3, H, W] to `size` by bilinear interpolation."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.resize_image(image, list(size), InterpolationMode.BILINEAR, antialias=antialias)


class ResizedMask:
    """A mask resized lazily: only the crops that are requested are computed.

    Nearest-neighbour interpolation as in OpenCV and PyTorch (`mode="nearest"`).

    Parameters
    ----------
    mask : Tensor
        uint8 or int16 [H, W].
    size : (int, int)
        (height, width) to resize to.
    """

    def __init__(self, mask: Tensor, size: Size) -> None:
        self.size = size
        self._mask = mask.numpy()
        self._rows = _nearest(mask.shape[0], size[0])
        self._columns = _nearest(mask.shape[1], size[1])

    def crop(self, top: int, left: int, size: Size) -> Tensor:
        """Return the crop of `size` at (top, left), clipped at the border, [h, w]."""
        rows, columns = self._rows[top : top + size[0]], self._columns[left : left + size[1]]
        return torch.from_numpy(self._mask.take(rows, axis=0).take(columns, axis=1))


def _nearest(length: int, target: int) -> np.ndarray:
    return np.arange(target) * length // target
