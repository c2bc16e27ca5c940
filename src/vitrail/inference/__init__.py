"""Segmenting images with a model: the predictor, its predictions, and where images come from."""

from vitrail.inference.api import predict
from vitrail.inference.prediction import Prediction
from vitrail.inference.predictor import Predictor
from vitrail.inference.sources import FRAME_SOURCES, Frame, FrameSource, register_frame_source

__all__ = [
    "FRAME_SOURCES",
    "Frame",
    "FrameSource",
    "Prediction",
    "Predictor",
    "predict",
    "register_frame_source",
]
