"""Training a model."""

from vitrail.training.api import train
from vitrail.training.loop import TrainingRun
from vitrail.training.result import TrainingResult

__all__ = ["TrainingResult", "TrainingRun", "train"]
