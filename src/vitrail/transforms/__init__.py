"""Image and mask transforms for training and evaluation."""

from vitrail.transforms.normalize import Normalize
from vitrail.transforms.pipeline import EvalTransform, TrainTransform

__all__ = ["EvalTransform", "Normalize", "TrainTransform"]
