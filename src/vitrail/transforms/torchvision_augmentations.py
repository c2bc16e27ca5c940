"""torchvision's transforms (`torchvision.transforms.v2`) as augmentations, under the names of their classes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from vitrail.labels import IGNORE, WIDE_IGNORE
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
_OF_FLOATS = {"GaussianNoise"}  # takes images in uint8 since torchvision 0.24 only


class TorchvisionAugmentation:
    """One of torchvision's transforms, applied to an image and its mask alike.

    Parameters
    ----------
    narrow, wide : v2.Transform
        The transform of masks of up to 255 classes, and of more: what they fill a mask with differs.
    image_only : bool
        Whether the mask is left out.
    """

    def __init__(self, narrow: v2.Transform, wide: v2.Transform, *, image_only: bool) -> None:
        self.narrow = narrow
        self.wide = wide
        self.image_only = image_only

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> Pair:
        """Return image, uint8 [C, H, W], and mask, uint8 or int16 [H, W], after the transform."""
        if self.image_only:
            return self.narrow(image), mask
        image, mask = (self.narrow if mask.dtype == torch.uint8 else self.wide)(image, mask)
        return image, mask


def register() -> None:
    """Register every transform of torchvision that an image and its mask can go through."""
    for name, kind in inspect.getmembers(v2, inspect.isclass):
        if issubclass(kind, v2.Transform) and name not in _LEFT_OUT:
            AUGMENTATIONS.add(name, _builder(name, kind), module=__name__)


def _builder(name: str, kind: type[v2.Transform]) -> AugmentationBuilder:
    def build(**options: Any) -> TorchvisionAugmentation:
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        narrow, wide = (kind(**_filling(options, label)) for label in (IGNORE, WIDE_IGNORE))
        if name in _OF_FLOATS:
            narrow, wide = _on_floats(narrow), _on_floats(wide)
        return TorchvisionAugmentation(narrow, wide, image_only=name in _IMAGE_ONLY)

    build.__doc__ = f"`torchvision.transforms.v2.{name}`; what it fills in a mask is ignored."
    copy_options(build, kind, leave_out=("inplace",))
    return build


def _on_floats(transform: v2.Transform) -> v2.Transform:
    """Return a transform that is given images of floating-point numbers from 0 to 1."""
    to_float, to_bytes = ({tv_tensors.Image: dtype, "others": None} for dtype in (torch.float32, torch.uint8))
    return v2.Compose([v2.ToDtype(to_float, scale=True), transform, v2.ToDtype(to_bytes, scale=True)])


def _filling(options: dict[str, Any], label: int) -> dict[str, Any]:
    """Return options whose `fill`, if there is one, is the image's colour and the mask's label."""
    if "fill" not in options:
        return options
    return {**options, "fill": {tv_tensors.Image: options["fill"], tv_tensors.Mask: label}}
