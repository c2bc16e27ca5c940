"""Training a model."""

from vitrail.training.loop import TrainingResult, TrainingRun, train

__all__ = ["TrainingResult", "TrainingRun", "train"]
