"""Random crops in which no single class dominates."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.labels import IGNORE, WIDE_IGNORE
from vitrail.transforms.resize import ResizedMask
from vitrail.transforms.sizes import Size

_ATTEMPTS = 10


def draw_crop(mask: ResizedMask, crop: Size, max_class_share: float) -> tuple[int, int, Tensor]:
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

    Returns
    -------
    top, left : int
        Upper left corner of the crop in pixels.
    mask : Tensor
        The cropped mask [h, w].
    """
    top, left = _draw_corner(mask.size, crop)
    part = mask.crop(top, left, crop)
    only_one = crop[0] >= mask.size[0] and crop[1] >= mask.size[1]
    for _ in range(0 if only_one or max_class_share >= 1 else _ATTEMPTS):
        if is_varied(part, max_class_share):
            break
        top, left = _draw_corner(mask.size, crop)
        part = mask.crop(top, left, crop)
    return top, left, part


def is_varied(mask: Tensor, max_class_share: float) -> bool:
    """Return whether a mask [H, W] has at least two classes, each with a share below `max_class_share`."""
    if mask.dtype == torch.uint8:
        counts = torch.bincount(mask.flatten(), minlength=IGNORE + 1)[:IGNORE]
    else:
        counts = torch.bincount(mask[mask != WIDE_IGNORE], minlength=1)
    largest, total = int(counts.max()), int(counts.sum())
    return largest < total and largest < max_class_share * total


def _draw_corner(size: Size, crop: Size) -> tuple[int, int]:
    return _draw_offset(size[0] - crop[0]), _draw_offset(size[1] - crop[1])


def _draw_offset(margin: int) -> int:
    return int(torch.randint(max(margin, 0) + 1, ()))
