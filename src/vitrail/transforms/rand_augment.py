"""RandAugment for images with masks: a few of several small changes, drawn anew for every image."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from vitrail.transforms.augmentations import Pair, register_augmentation
from vitrail.transforms.rotate import rotate

_DEGREES = 30.0  # largest rotation
_CHANGE = 0.9  # largest change of the factors 1 that leave an image as it is
_FACTORS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    F.adjust_saturation_image,
    F.adjust_contrast_image,
    F.adjust_brightness_image,
    F.adjust_sharpness_image,
)
_PLAIN: tuple[Callable[[Tensor], Tensor], ...] = (F.autocontrast_image, F.equalize_image)


@register_augmentation("rand_augment")
class RandAugment:
    """Apply some of seven changes: contrast stretched, histogram equalised, rotation, colour, contrast, and so on.

    The seven are those that RegSeg is trained with (arXiv:2111.09957), of the fourteen of Cubuk et al., "RandAugment",
    CVPR Workshops 2020, arXiv:1909.13719: `autocontrast`, `equalize`, a rotation, and factors on saturation, contrast,
    brightness and sharpness. Those with a strength go either way.

    Parameters
    ----------
    count : int
        How many different ones are applied to an image, 0 to 7.
    magnitude : float
        Their strength, 0 to 1: 1 rotates by 30° and multiplies by 0.1 or 1.9.
    fill : sequence of int
        Value of each channel outside a rotated image; the mask is ignored there.

    Raises
    ------
    ValueError
        For a count or a magnitude outside its range.
    """

    def __init__(self, *, count: int = 2, magnitude: float = 0.2, fill: Sequence[int] = (0, 0, 0)) -> None:
        self.fill = fill
        self.changes = [
            *(functools.partial(_change_image, each) for each in _PLAIN),
            *(functools.partial(_scale, each, magnitude) for each in _FACTORS),
            functools.partial(_rotate, magnitude, fill),
        ]
        if not 0 <= count <= len(self.changes) or not 0 <= magnitude <= 1:
            raise ValueError(
                f"count should be 0 to {len(self.changes)} and magnitude 0 to 1, not {count} and {magnitude}"
            )
        self.count = count

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Pair:
        """Return image, uint8 [C, H, W], and mask [H, W], changed."""
        x, y = image.as_subclass(Tensor), mask.as_subclass(Tensor)
        for index in torch.randperm(len(self.changes))[: self.count].tolist():
            x, y = self.changes[index](x, y)
        return tv_tensors.Image(x), tv_tensors.Mask(y)


def _change_image(change: Callable[[Tensor], Tensor], image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return change(image), mask


def _scale(
    change: Callable[[Tensor, float], Tensor], magnitude: float, image: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    return change(image, 1 + _CHANGE * _either_way(magnitude)), mask


def _rotate(magnitude: float, fill: Sequence[int], image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return rotate(image, mask, _DEGREES * _either_way(magnitude), fill)


def _either_way(magnitude: float) -> float:
    return magnitude if float(torch.rand(())) < 0.5 else -magnitude
