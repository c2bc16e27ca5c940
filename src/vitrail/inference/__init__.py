"""Segmenting images with a model: the predictor, its predictions, and where images come from."""

from vitrail.inference.api import predict
from vitrail.inference.files import UnreadableImagesError, predict_files
from vitrail.inference.live_view import LiveView
from vitrail.inference.prediction import Prediction
from vitrail.inference.predictor import Predictor
from vitrail.inference.rasters import predict_rasters
from vitrail.inference.shards import Shard
from vitrail.inference.sources import FRAME_SOURCES, Frame, FrameSource, register_frame_source
from vitrail.inference.video import TruncatedVideoError, VideoResult, VideoSegmenter, predict_video, show_video

__all__ = [
    "FRAME_SOURCES",
    "Frame",
    "FrameSource",
    "LiveView",
    "Prediction",
    "Predictor",
    "Shard",
    "TruncatedVideoError",
    "UnreadableImagesError",
    "VideoResult",
    "VideoSegmenter",
    "predict",
    "predict_files",
    "predict_rasters",
    "predict_video",
    "register_frame_source",
    "show_video",
]
