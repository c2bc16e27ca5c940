"""Frame sources: where images to segment come from, and the registry that plugins add theirs to."""

from vitrail.inference.sources.frame import (
    FRAME_SOURCES,
    Frame,
    FrameSource,
    FrameSourceKind,
    find_frame_source,
    register_frame_source,
)
from vitrail.inference.sources.images import ImageFiles
from vitrail.inference.sources.opening import Picture, Pictures, is_single, open_frames

__all__ = [
    "FRAME_SOURCES",
    "Frame",
    "FrameSource",
    "FrameSourceKind",
    "ImageFiles",
    "Picture",
    "Pictures",
    "find_frame_source",
    "is_single",
    "open_frames",
    "register_frame_source",
]
