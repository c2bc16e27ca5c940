"""Image and mask transforms for training and evaluation."""

from vitrail.transforms import torchvision_augmentations
from vitrail.transforms.augmentations import (
    AUGMENTATIONS,
    MixingAugmentation,
    list_augmentations,
    register_augmentation,
)
from vitrail.transforms.mixing import CopyPaste, CutMix, Mosaic
from vitrail.transforms.normalize import Normalize
from vitrail.transforms.pipeline import EvalTransform, TrainTransform
from vitrail.transforms.rand_augment import RandAugment

torchvision_augmentations.register()

__all__ = [
    "AUGMENTATIONS",
    "CopyPaste",
    "CutMix",
    "EvalTransform",
    "MixingAugmentation",
    "Mosaic",
    "Normalize",
    "RandAugment",
    "TrainTransform",
    "list_augmentations",
    "register_augmentation",
]
