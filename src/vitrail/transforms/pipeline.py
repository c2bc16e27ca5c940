"""The training and test pipelines: one sample in, one sample out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.transforms.crop import draw_crop
from vitrail.transforms.flip import HorizontalFlip
from vitrail.transforms.pad import pad_to
from vitrail.transforms.photometric import distort, draw_distortion
from vitrail.transforms.resize import ResizedMask, resize_image
from vitrail.transforms.rotate import rotate
from vitrail.transforms.sizes import Size, scaled, target_size


class TrainTransform:
    """Resize by a random factor, crop, flip, rotate, distort colours, pad: in this order.

    All random choices come from torch's global random state, so they are determined by seeding it. Images stay
    uint8, colours are only touched after cropping, and of a resized mask only the crops that are looked at are made.

    Parameters
    ----------
    base_size : (int, int) or None
        Size before the random factor; None is each image's own size. See `sizes.target_size`.
    keep_ratio : bool
        Whether images keep their shape when resized to `base_size`.
    scale : (float, float)
        Range of the random factor.
    crop : (int, int) or None
        (height, width) of the crop; smaller images are padded up to it. None keeps the whole image.
    max_class_share : float
        Crops in which one class covers this share or more are drawn again, up to ten times.
    flip : float
        Probability of mirroring.
    flip_pairs : sequence of (int, int)
        Classes that change places in the mirror.
    rotate_degrees : float
        Largest rotation, either way.
    rotate : float
        Probability of a rotation.
    photometric : bool
        Whether colours are distorted.
    fill : (int, int, int)
        RGB colour of what lies outside the image.
    """

    def __init__(
        self,
        *,
        base_size: Size | None,
        keep_ratio: bool,
        scale: tuple[float, float],
        crop: Size | None,
        max_class_share: float,
        flip: float,
        flip_pairs: Sequence[tuple[int, int]],
        rotate_degrees: float,
        rotate: float,
        photometric: bool,
        fill: tuple[int, int, int],
    ) -> None:
        self.base_size = base_size
        self.keep_ratio = keep_ratio
        self.scale = scale
        self.crop = crop
        self.max_class_share = max_class_share
        self.flip = flip
        self.mirror = HorizontalFlip(flip_pairs)
        self.rotate_degrees = rotate_degrees
        self.rotate = rotate
        self.photometric = photometric
        self.fill = fill

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with image and mask augmented."""
        image, mask = sample["image"].as_subclass(Tensor), sample["mask"].as_subclass(Tensor)
        image, mask = self._resize_and_crop(image, mask)
        if _happens(self.flip):
            image, mask = self.mirror(image, mask)
        if _happens(self.rotate):
            image, mask = rotate(image, mask, _uniform(-self.rotate_degrees, self.rotate_degrees), self.fill)
        if self.photometric:
            image = distort(image, draw_distortion())
        if self.crop is not None:
            image, mask = pad_to(image, mask, self.crop, self.fill)
        return {**sample, "image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask)}

    def _resize_and_crop(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        own: Size = (mask.shape[0], mask.shape[1])
        bounds = scaled(self.base_size or own, _uniform(*self.scale))
        size = target_size(own, bounds, self.keep_ratio)
        resized, crop = ResizedMask(mask, size), self.crop or size
        top, left, mask = draw_crop(resized, crop, self.max_class_share)
        return resize_image(image, size)[:, top : top + crop[0], left : left + crop[1]], mask


class EvalTransform:
    """Brings the image to the test-time size; the mask keeps its own.

    Parameters
    ----------
    size : (int, int) or None
        See `sizes.target_size`; None keeps the image's own size.
    keep_ratio : bool
        Whether images keep their shape.
    """

    def __init__(self, *, size: Size | None, keep_ratio: bool) -> None:
        self.size = size
        self.keep_ratio = keep_ratio

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with its image resized."""
        if self.size is None:
            return sample
        image = sample["image"].as_subclass(Tensor)
        size = target_size((image.shape[1], image.shape[2]), self.size, self.keep_ratio)
        return {**sample, "image": tv_tensors.Image(resize_image(image, size))}


def _happens(probability: float) -> bool:
    return probability > 0 and float(torch.rand(())) < probability


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
