"""Image and mask transforms for training and evaluation."""

from vitrail.transforms import torchvision_augmentations
from vitrail.transforms.augmentations import AUGMENTATIONS, list_augmentations, register_augmentation
from vitrail.transforms.normalize import Normalize
from vitrail.transforms.pipeline import EvalTransform, TrainTransform

torchvision_augmentations.register()

__all__ = [
    "AUGMENTATIONS",
    "EvalTransform",
    "Normalize",
    "TrainTransform",
    "list_augmentations",
    "register_augmentation",
]
