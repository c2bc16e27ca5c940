"""Frame sources: where images to segment come from, and the registry that plugins add theirs to."""

from vitrail.inference.sources.frame import (
    FRAME_SOURCES,
    Frame,
    FrameSource,
    FrameSourceKind,
    MissingFrame,
    find_frame_source,
    names_frames,
    register_frame_source,
)
from vitrail.inference.sources.images import ImageFiles
from vitrail.inference.sources.manifest import Manifest
from vitrail.inference.sources.opening import EveryNth, Picture, Pictures, is_single, open_frames
from vitrail.inference.sources.parallel_reading import ParallelReading
from vitrail.inference.sources.remote_images import RemoteImages
from vitrail.inference.sources.video import Camera, Video, VideoFile, VideoFrame, VideoStream

__all__ = [
    "FRAME_SOURCES",
    "Camera",
    "EveryNth",
    "Frame",
    "FrameSource",
    "FrameSourceKind",
    "ImageFiles",
    "Manifest",
    "MissingFrame",
    "ParallelReading",
    "Picture",
    "Pictures",
    "RemoteImages",
    "Video",
    "VideoFile",
    "VideoFrame",
    "VideoStream",
    "find_frame_source",
    "is_single",
    "names_frames",
    "open_frames",
    "register_frame_source",
]
