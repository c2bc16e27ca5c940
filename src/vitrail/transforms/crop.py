"""Random crops in which no single class dominates, or around a pixel of a class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitrail.labels import IGNORE, WIDE_IGNORE, ignore_index_of
from vitrail.transforms.resize import Pixels, ResizedMask
from vitrail.transforms.sizes import Size

_ATTEMPTS = 10


def draw_crop(
    mask: ResizedMask, crop: Size, max_class_share: float, *, around: int | None = None
) -> tuple[int, int, Tensor]:
    """Draw a random crop of a mask.

    The crop is drawn again, up to ten times, while it contains a single class or one class covers `max_class_share` or
    more of its non-ignored pixels (`cat_max_ratio` of MMSegmentation's `RandomCrop`).

    Parameters
    ----------
    mask : ResizedMask
        The mask to crop from.
    crop : (int, int)
        (height, width) in pixels; clipped where the mask is smaller.
    max_class_share : float
        0…1; 1 accepts every crop.
    around : int, optional
        A class: every crop that is drawn contains a pixel of it, drawn evenly from all of its pixels, where the mask
        has one.

    Returns
    -------
    top, left : int
        Upper left corner of the crop in pixels.
    mask : Tensor
        The cropped mask [h, w].
    """
    pixels = None if around is None else mask.find(around)
    top, left = _draw_corner(mask.size, crop, pixels)
    part = mask.crop(top, left, crop)
    only_one = crop[0] >= mask.size[0] and crop[1] >= mask.size[1]
    for _ in range(0 if only_one or max_class_share >= 1 else _ATTEMPTS):
        if is_varied(part, max_class_share):
            break
        top, left = _draw_corner(mask.size, crop, pixels)
        part = mask.crop(top, left, crop)
    return top, left, part


def draw_class(mask: Tensor) -> int | None:
    """Return one of the classes of a mask [H, W], each as likely as the others; None where all of it is ignored."""
    labels = torch.from_numpy(np.unique(mask.numpy()))
    labels = labels[labels != ignore_index_of(mask)]
    return int(labels[torch.randint(len(labels), ())]) if len(labels) else None


def is_varied(mask: Tensor, max_class_share: float) -> bool:
    """Return whether a mask [H, W] has at least two classes, each with a share below `max_class_share`."""
    if mask.dtype == torch.uint8:
        counts = torch.bincount(mask.flatten(), minlength=IGNORE + 1)[:IGNORE]
    else:
        counts = torch.bincount(mask[mask != WIDE_IGNORE], minlength=1)
    largest, total = int(counts.max()), int(counts.sum())
    return largest < total and largest < max_class_share * total


def _draw_corner(size: Size, crop: Size, pixels: Pixels | None) -> tuple[int, int]:
    if pixels is None or len(pixels) == 0:
        return _draw_offset(0, size[0] - crop[0]), _draw_offset(0, size[1] - crop[1])
    row, column = pixels[int(torch.randint(len(pixels), ()))]
    return _offset_around(row, size[0], crop[0]), _offset_around(column, size[1], crop[1])


def _offset_around(position: int, length: int, crop: int) -> int:
    """Draw the start of a crop of a length that contains a position."""
    return _draw_offset(max(position - crop + 1, 0), min(position, length - crop))


def _draw_offset(first: int, last: int) -> int:
    """Draw an offset from `first` to `last`, or return `first` where `last` is below it."""
    return first + int(torch.randint(max(last - first, 0) + 1, ()))
