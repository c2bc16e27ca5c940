"""Rotation of image and mask."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vitrail.labels import ignore_index_of


def rotate(image: Tensor, mask: Tensor, degrees: float, fill: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rotate image and mask about the centre, keeping their size.

    Parameters
    ----------
    image : Tensor
        uint8 [3, H, W]; bilinear interpolation, `fill` outside the image.
    mask : Tensor
        uint8 or int16 [H, W]; nearest-neighbour interpolation, the ignored label outside the mask.
    degrees : float
        Angle, counter-clockwise.
    fill : sequence of int
        RGB colour.
    """
    colour = [float(value) for value in fill]
    image = F.rotate_image(image, degrees, InterpolationMode.BILINEAR, fill=colour)
    mask = F.rotate_mask(mask[None], degrees, fill=float(ignore_index_of(mask)))[0]
    return image, mask
