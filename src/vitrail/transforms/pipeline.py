"""The training and test pipelines: one sample in, one sample out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.errors import RecipeError
from vitrail.recipes import AugmentConfig, ResizeConfig
from vitrail.transforms.augmentations import MixingAugmentation, Pair, apply, create_augmentation
from vitrail.transforms.crop import draw_class, draw_crop
from vitrail.transforms.flip import HorizontalFlip
from vitrail.transforms.pad import pad_to
from vitrail.transforms.photometric import distort, draw_distortion
from vitrail.transforms.resize import ResizedMask, resize_image
from vitrail.transforms.rotate import rotate
from vitrail.transforms.sizes import Size, scaled, target_size


class ImageSource(Protocol):
    """Images with their masks, in a fixed order: the source of a dataset."""

    ids: list[str]

    def load(self, index: int) -> Pair:
        """Return an image, uint8 [C, H, W], and its mask [H, W]."""


class TrainTransform:
    """Resize by a random factor, crop, flip, rotate, distort colours, pad, then the extra augmentations.

    All random choices come from torch's global random state, so they are determined by seeding it. Images stay
    uint8, colours are only changed after cropping, and of a resized mask only the crops that are drawn are computed.

    Parameters
    ----------
    config : AugmentConfig
        The augmentation section of a recipe.
    flip_pairs : sequence of (int, int)
        Classes that are exchanged in a mirrored image, such as left and right arm.
    fill : tuple of int
        Value of each channel outside the image.
    source : ImageSource, optional
        Where augmentations that combine several images take the others from.
    class_names : sequence of str
        The names of the classes, for augmentations that choose some.

    Raises
    ------
    RecipeError
        For an extra augmentation that does not exist, or an option that it does not take; for one that combines
        several images where there is no source, or no crop that gives all images one size.
    """

    def __init__(
        self,
        config: AugmentConfig,
        *,
        flip_pairs: Sequence[tuple[int, int]] = (),
        fill: tuple[int, ...],
        source: ImageSource | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.fill = fill
        self.mirror = HorizontalFlip(flip_pairs)
        self.extra = [create_augmentation(extra.name, extra.options, fill) for extra in config.extra]
        self._source = source
        for extra, augmentation in zip(config.extra, self.extra, strict=True):
            if isinstance(augmentation, MixingAugmentation):
                self._prepare_mixing(extra.name, augmentation, class_names)

    def _prepare_mixing(self, name: str, augmentation: MixingAugmentation, class_names: Sequence[str]) -> None:
        if self._source is None or self.config.crop is None:
            missing = "a source of others" if self._source is None else "images of one size: set data.augment.crop"
            raise RecipeError(f"augmentation {name!r} combines several images and needs {missing}")
        augmentation.set_class_names(class_names)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with image, uint8 [C, h, w], and mask, uint8 [h, w], augmented.

        Where the sample has a `label`, a class, the crop is drawn around a pixel of it.
        """
        image, mask = sample["image"].as_subclass(Tensor), sample["mask"].as_subclass(Tensor)
        image, mask = self._augmented(image, mask, len(self.extra), sample.get("label"))
        return {**sample, "image": image, "mask": mask}

    def _augmented(self, image: Tensor, mask: Tensor, extras: int, label: int | None = None) -> tuple[Tensor, Tensor]:
        """Return image and mask after the built-in steps and the first `extras` of the extra ones."""
        image, mask = self._built_in(image, mask, label)
        steps = zip(self.config.extra[:extras], self.extra[:extras], strict=True)
        for place, (extra, augmentation) in enumerate(steps):
            if extra.probability == 1 or _happens(extra.probability):
                image, mask = apply(extra.name, augmentation, image, mask, functools.partial(self._draw, place))
        return image, mask

    def _draw(self, extras: int) -> Pair:
        """Return a random other image and its mask, after the built-in steps and the first `extras` of the others."""
        assert self._source is not None  # only a mixing augmentation draws, and the constructor asked for it
        image, mask = self._source.load(int(torch.randint(len(self._source.ids), ())))
        image, mask = self._augmented(image.as_subclass(Tensor), mask.as_subclass(Tensor), extras)
        return tv_tensors.Image(image), tv_tensors.Mask(mask)

    def _built_in(self, image: Tensor, mask: Tensor, label: int | None) -> tuple[Tensor, Tensor]:
        config = self.config
        image, mask = self._resize_and_crop(image, mask, label)
        if _happens(config.flip):
            image, mask = self.mirror(image, mask)
        if _happens(config.rotate):
            image, mask = rotate(image, mask, _uniform(-config.rotate_degrees, config.rotate_degrees), self.fill)
        if config.photometric:
            image = distort(image, draw_distortion())
        if config.crop is not None:
            image, mask = pad_to(image, mask, config.crop, self.fill)
        return image, mask

    def _resize_and_crop(self, image: Tensor, mask: Tensor, label: int | None) -> tuple[Tensor, Tensor]:
        config, size = self.config, self._draw_size((mask.shape[0], mask.shape[1]))
        resized, crop = ResizedMask(mask, size), config.crop or size
        if label is None and _happens(config.class_crop):
            label = draw_class(mask)
        top, left, mask = draw_crop(resized, crop, config.max_class_share, around=label)
        antialias = config.resize is not None and config.resize.antialias
        image = resize_image(image, size, antialias=antialias)
        return image[:, top : top + crop[0], left : left + crop[1]], mask

    def _draw_size(self, own: Size) -> Size:
        config = self.config
        if config.shortest_edge is not None:
            lengths = config.shortest_edge.choices
            length = lengths[int(torch.randint(len(lengths), ()))]
            return target_size(own, (length, config.shortest_edge.max_size), keep_ratio=True)
        resize = config.resize or ResizeConfig(size=own)
        bounds = scaled(resize.size, _uniform(*config.scale))
        return target_size(own, bounds, resize.keep_ratio, resize.multiple_of)


class EvalTransform:
    """Brings the image to the test-time size; the mask keeps its own.

    Parameters
    ----------
    size : (int, int) or None
        See `sizes.target_size`; None keeps the image's own size.
    keep_ratio : bool
        Whether images keep their shape.
    antialias : bool
        Whether pixels that become one are averaged.
    multiple_of : int
        Height and width are rounded up to multiples of this.
    """

    def __init__(self, *, size: Size | None, keep_ratio: bool, antialias: bool = False, multiple_of: int = 1) -> None:
        self.size = size
        self.keep_ratio = keep_ratio
        self.antialias = antialias
        self.multiple_of = multiple_of

    @classmethod
    def from_config(cls, resize: ResizeConfig | None) -> EvalTransform:
        """Return the transform that a recipe's `data.eval_resize` describes."""
        return cls(size=None, keep_ratio=True) if resize is None else cls(**resize.model_dump())

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Return the sample with its image resized."""
        if self.size is None:
            return sample
        image = sample["image"].as_subclass(Tensor)
        size = target_size((image.shape[1], image.shape[2]), self.size, self.keep_ratio, self.multiple_of)
        return {**sample, "image": resize_image(image, size, antialias=self.antialias)}


def _happens(probability: float) -> bool:
    return probability > 0 and float(torch.rand(())) < probability


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
