"""Where to crop: at random, but not where one class covers nearly everything."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.labels import IGNORE
from vitrail.transforms.resize import ResizedMask
from vitrail.transforms.sizes import Size

_ATTEMPTS = 10


def draw_crop(mask: ResizedMask, crop: Size, max_class_share: float) -> tuple[int, int, Tensor]:
    """Draw the place of a crop.

    A crop is drawn again, up to ten times, while it shows a single class or one class covers `max_class_share` or
    more of what is not ignored (the habit of Chen et al., DeepLab, in the form of MMSegmentation).

    Parameters
    ----------
    mask : ResizedMask
        The mask to crop from.
    crop : (int, int)
        (height, width); cut off where the mask is smaller.
    max_class_share : float
        1 accepts every crop.

    Returns
    -------
    top, left : int
        The crop's corner.
    mask : Tensor
        The cropped mask.
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
    """Whether uint8 [H, W] shows two classes or more, none of which covers the share `max_class_share`."""
    counts = torch.bincount(mask.flatten(), minlength=IGNORE + 1)[:IGNORE]
    largest, total = int(counts.max()), int(counts.sum())
    return largest < total and largest < max_class_share * total


def _draw_corner(size: Size, crop: Size) -> tuple[int, int]:
    return _draw_offset(size[0] - crop[0]), _draw_offset(size[1] - crop[1])


def _draw_offset(margin: int) -> int:
    return int(torch.randint(max(margin, 0) + 1, ()))
