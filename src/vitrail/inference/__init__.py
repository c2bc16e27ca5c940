"""Segmenting images with a model."""

from vitrail.inference.api import predict
from vitrail.inference.prediction import Prediction

__all__ = ["Prediction", "predict"]
