"""Training and test pipelines over torchvision.transforms.v2."""

from vitrail.transforms.normalize import Normalize
from vitrail.transforms.pipeline import EvalTransform, TrainTransform

__all__ = ["EvalTransform", "Normalize", "TrainTransform"]
