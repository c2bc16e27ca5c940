"""torchvision's transforms (`torchvision.transforms.v2`) as augmentations, under the names of their classes."""

from __future__ import annotations

import inspect
from typing import Any

from torchvision import tv_tensors
from torchvision.transforms import v2

from vitrail.labels import IGNORE
from vitrail.registry import copy_options
from vitrail.transforms.augmentations import AUGMENTATIONS, AugmentationBuilder, Pair

_LEFT_OUT = {
    # take functions, tensors or other transforms, which a recipe cannot hold
    *("Transform", "Identity", "Compose", "Lambda", "LinearTransformation", "RandomApply", "RandomChoice"),
    "RandomOrder",
    # return other types, or several images
    *("ConvertImageDtype", "Normalize", "PILToTensor", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor"),
    *("ToTensor", "FiveCrop", "TenCrop"),
    # are for boxes, key points, labels of whole images, or videos
    *("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "SanitizeBoundingBoxes"),
    *("SanitizeKeyPoints", "SetClampingMode", "RandomIoUCrop", "MixUp", "CutMix", "UniformTemporalSubsample"),
    # move the image and not the mask
    *("AugMix", "AutoAugment", "RandAugment", "TrivialAugmentWide"),
    # does not exchange left and right classes (`Benchmark.flip_pairs`), as data.augment.flip does
    "RandomHorizontalFlip",
}
_IMAGE_ONLY = {"RandomErasing"}  # warns when it is given a mask


class TorchvisionAugmentation:
    """One of torchvision's transforms, applied to an image and its mask alike.

    Parameters
    ----------
    transform : v2.Transform
        The transform.
    image_only : bool
        Whether the mask is left out.
    """

    def __init__(self, transform: v2.Transform, *, image_only: bool) -> None:
        self.transform = transform
        self.image_only = image_only

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Pair:
        """Return image, uint8 [3, H, W], and mask, uint8 [H, W], after the transform."""
        if self.image_only:
            return self.transform(image), mask
        image, mask = self.transform(image, mask)
        return image, mask


def register() -> None:
    """Register every transform of torchvision that an image and its mask can go through."""
    for name, kind in inspect.getmembers(v2, inspect.isclass):
        if issubclass(kind, v2.Transform) and name not in _LEFT_OUT:
            AUGMENTATIONS.add(name, _builder(name, kind), module=__name__)


def _builder(name: str, kind: type[v2.Transform]) -> AugmentationBuilder:
    def build(**options: Any) -> TorchvisionAugmentation:
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        if "fill" in options:
            colour = options["fill"]
            options["fill"] = {tv_tensors.Image: colour, tv_tensors.Mask: IGNORE}
        return TorchvisionAugmentation(kind(**options), image_only=name in _IMAGE_ONLY)

    build.__doc__ = f"`torchvision.transforms.v2.{name}`; what it fills in a mask is 255, which is ignored."
    copy_options(build, kind, leave_out=("inplace",))
    return build
