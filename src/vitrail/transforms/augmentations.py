"""The registry of augmentations that a recipe adds after the built-in ones (`data.augment.extra`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.errors import DatasetError, RecipeError
from vitrail.registry import Registry, check_arguments, keyword_arguments

Pair = tuple[tv_tensors.Image, tv_tensors.Mask]
Draw = Callable[[], Pair]


class MixingAugmentation(ABC):
    """Base class of augmentations that combine an image with others of the training data."""

    @abstractmethod
    def mix(self, image: Tensor, mask: Tensor, draw: Draw) -> Pair:
        """Return an image and its mask, made of the given ones and of what `draw` returns.

        Parameters
        ----------
        image, mask : Tensor [C, H, W], Tensor [H, W]
            As every augmentation gets them.
        draw : callable
            Each call returns another image, drawn evenly from the training data, and its mask, after the same random
            steps that the given image has gone through, and of the same size.
        """

    def set_class_names(self, names: Sequence[str]) -> None:  # noqa: B027  # a default, not a contract
        """Receive the names of the dataset's classes, before the first call; does nothing unless overridden."""


Augmentation = Callable[[tv_tensors.Image, tv_tensors.Mask], Pair] | MixingAugmentation
AugmentationBuilder = Callable[..., Augmentation]
Builder = TypeVar("Builder", bound=AugmentationBuilder)
AUGMENTATIONS: Registry[AugmentationBuilder] = Registry("augmentation", RecipeError, "vitrail.transforms")


def register_augmentation(name: str) -> Callable[[Builder], Builder]:
    """Register a class or function `(*, …) -> augmentation` under `name`.

    An augmentation is called with an image, uint8 [3, H, W], and its mask [H, W], uint8 with 255 ignored or, where
    there are more than 255 classes, int16 with -1 ignored, and returns both, of equal size. Its random choices have to
    come from torch's global random state, which is seeded for each sample. The keyword-only parameters are what
    `options` of `data.augment.extra` can set; one called `fill` gets the dataset's mean colour, for what lies outside
    the image, unless the recipe sets it. An augmentation that combines several images is a `MixingAugmentation`, which
    has a method `mix` in place of the call.
    """
    return AUGMENTATIONS.register(name)


def list_augmentations() -> list[str]:
    """Return the names of the augmentations."""
    return list(AUGMENTATIONS)


def create_augmentation(name: str, options: Mapping[str, Any], fill: tuple[int, ...]) -> Augmentation:
    """Build an augmentation.

    Parameters
    ----------
    name : str
        One of `list_augmentations()`.
    options : mapping
        Its keyword arguments.
    fill : tuple of int
        Value of each channel outside the image, for augmentations that fill.

    Raises
    ------
    RecipeError
        For an unknown name or option, or a value that the augmentation refuses.
    """
    builder = AUGMENTATIONS[name]
    check_arguments(builder, options, f"augmentation {name!r}", RecipeError)
    filled = {"fill": fill} if "fill" in keyword_arguments(builder) else {}
    try:
        return builder(**{**filled, **options})
    except (TypeError, ValueError) as error:  # how torchvision refuses a value
        raise RecipeError(f"augmentation {name!r}: {error}") from error


def apply(name: str, augmentation: Augmentation, image: Tensor, mask: Tensor, draw: Draw | None = None) -> Pair:
    """Apply an augmentation to an image, uint8 [C, H, W], and a mask [H, W], and check what it returns.

    Parameters
    ----------
    name, augmentation
        The augmentation.
    image, mask : Tensor
        What it is applied to.
    draw : callable, optional
        Returns another image and mask; a `MixingAugmentation` needs it.

    Raises
    ------
    DatasetError
        When it returns anything but uint8 [C, h, w] and [h, w] of the mask's type, or does not take an image of C
        channels.
    """
    channels, dtype = image.shape[0], mask.dtype
    if isinstance(augmentation, MixingAugmentation):
        if draw is None:
            raise DatasetError(f"augmentation {name!r} combines several images, and there is no dataset to draw from")
        image, mask = augmentation.mix(tv_tensors.Image(image), tv_tensors.Mask(mask), draw)
    else:
        image, mask = augmentation(tv_tensors.Image(image), tv_tensors.Mask(mask))
    types = (image.dtype, mask.dtype) == (torch.uint8, dtype)
    if not types or image.shape != (channels, *mask.shape[-2:]) or mask.ndim != 2:
        raise DatasetError(
            f"augmentation {name!r} must return an image, uint8 [{channels}, H, W], and its mask, "
            f"{str(dtype).removeprefix('torch.')} [H, W]; "
            f"it returned {image.dtype} {list(image.shape)} and {mask.dtype} {list(mask.shape)}"
        )
    return image, mask
