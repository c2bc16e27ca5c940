"""Rotation about the centre."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vitrail.labels import IGNORE


def rotate(image: Tensor, mask: Tensor, degrees: float, fill: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rotate image and mask about their centre, keeping their size.

    Parameters
    ----------
    image : Tensor
        uint8 [3, H, W]; interpolated bilinearly, with `fill` where nothing is.
    mask : Tensor
        uint8 [H, W]; the nearest value, with 255 where nothing is.
    degrees : float
        Counter-clockwise.
    fill : sequence of int
        An RGB colour.
    """
    colour = [float(value) for value in fill]
    image = F.rotate_image(image, degrees, InterpolationMode.BILINEAR, fill=colour)
    mask = F.rotate_mask(mask[None], degrees, fill=float(IGNORE))[0]
    return image, mask
