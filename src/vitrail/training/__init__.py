"""Training a model."""

from vitrail.training.loop import TrainingRun, train

__all__ = ["TrainingRun", "train"]
