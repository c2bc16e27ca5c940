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


class Pixels:
    """The pixels of a mask that have a label, at their positions in the resized mask.

    Parameters
    ----------
    mask : ndarray [H, W]
        The mask before it is resized.
    label : int
        The label.
    size : (int, int)
        (height, width) to resize to.
    """

    def __init__(self, mask: np.ndarray, label: int, size: Size) -> None:
        self._places = np.flatnonzero(mask == label)
        self._own = (mask.shape[0], mask.shape[1])
        self._size = size

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Return row and column of the place in the resized mask where a pixel's centre lies."""
        row, column = divmod(int(self._places[index]), self._own[1])
        height, width = (
            (2 * place + 1) * length // (2 * own)
            for place, length, own in zip((row, column), self._size, self._own, strict=True)
        )
        return height, width


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

    def find(self, label: int) -> Pixels:
        """Return the pixels that have a label."""
        return Pixels(self._mask, label, self.size)


def _nearest(length: int, target: int) -> np.ndarray:
    return np.arange(target) * length // target
