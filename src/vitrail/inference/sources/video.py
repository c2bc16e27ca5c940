"""Videos, network streams and cameras as frame sources, decoded by FFmpeg through PyAV (the [video] extra)."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vitrail.datasets.image_files import check_size
from vitrail.errors import PredictionError
from vitrail.files.home import expand_home
from vitrail.inference.sources.frame import Frame, MissingFrame, register_frame_source

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv"),
    *(".wmv", ".ogv"),
)
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp")
# A file is data: what it names is not opened, and formats that are lists of other files are not recognised.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,live_flv,asf,ogg"
FILE_OPTIONS: Mapping[str, str] = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
WEB_OPTIONS: Mapping[str, str] = {"protocol_whitelist": "http,https,tcp,tls", "format_whitelist": _FORMATS}
_DURATION = re.compile(r"\d{1,4}:\d\d:\d\d(\.\d{1,9})?")
_SLACK_FRAMES = 3  # that the end of a whole video may be off: containers round it
TIMEOUT = 10.0  # seconds that a stream may be silent
PATIENCE = 30.0  # seconds in which a stream or a camera that stopped may come back
_PAUSE = 0.5  # seconds between two attempts to open it again


@dataclass(frozen=True)
class VideoFrame(Frame):
    """A frame of a video.

    Attributes
    ----------
    time : Fraction
        Seconds from the beginning of the video to this frame.
    duration : Fraction or None
        Seconds until the next one, where the file says so.
    """

    time: Fraction = Fraction(0)
    duration: Fraction | None = None


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself.

    Attributes
    ----------
    rate : Fraction
        Frames per second, on average.
    time_base : Fraction
        The unit of time of its frames, in seconds.
    """

    rate: Fraction
    time_base: Fraction


class Video:
    """Frames that FFmpeg decodes, one after the other.

    Parameters
    ----------
    where : str
        What FFmpeg opens.
    name : str
        Beginning of the frames' ids.
    options : mapping
        FFmpeg's options.
    format : str, optional
        FFmpeg's name of the format; None recognises it.
    """

    def __init__(self, where: str, name: str, options: Mapping[str, str], format: str | None = None) -> None:
        self.where = where
        self.name = name
        self.num_frames: int | None = None
        self._options = dict(options)
        self._format = format
        import_av()

    def facts(self) -> VideoFacts:
        """Return what the video says of itself; opens it.

        Raises
        ------
        PredictionError
            When it cannot be opened.
        """
        with self.open() as container:
            stream = self._stream(container)
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            return VideoFacts(rate, stream.time_base or 1 / rate)

    def open(self) -> InputContainer:
        """Open the video; the caller closes it.

        Raises
        ------
        PredictionError
            When there is none that FFmpeg can open.
        """
        av = import_av()
        try:
            return av.open(self.where, options=self._options, format=self._format, timeout=TIMEOUT)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise PredictionError(
                f"cannot open {self.where}: {_reason(error)} (it is no video, or a part of one: an .mp4 that was cut "
                "off lacks the index at its end)"
            ) from error

    def __iter__(self) -> Iterator[Frame]:
        """Decode frames; one that says what is missing comes last where the video ends too early."""
        av = import_av()
        count = 0
        problem = ""
        end = Fraction(0)
        with self.open() as container:
            stream = self._stream(container)
            start = Fraction(container.start_time or 0, av.time_base)
            promised = _promised_end(container, stream)
            expected = stream.frames
            try:
                for packet in container.demux(stream):
                    decoded, damage = _decode(packet)
                    problem = problem or damage
                    for image in decoded:
                        frame = self._frame(image, count, start, stream)
                        end = frame.time + (frame.duration or 0)
                        yield frame
                        count += 1
            except av.error.FFmpegError as error:
                problem = _reason(error)
            slack = _SLACK_FRAMES / (stream.average_rate or Fraction(25))
        if problem or not count or count < expected or (promised is not None and end < promised - slack):
            yield self._missing(count, expected, problem)

    def _stream(self, container: InputContainer) -> Any:
        if not container.streams.video:
            raise PredictionError(f"{self.where} has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        check_size(stream.width, stream.height, self.where)
        return stream

    def _frame(self, image: av.VideoFrame, index: int, start: Fraction, stream: Any) -> VideoFrame:
        base = image.time_base or stream.time_base
        time = index / (stream.average_rate or Fraction(25)) if image.pts is None else image.pts * base - start
        length = getattr(image, "duration", 0)
        check_size(image.width, image.height, self.where)
        return VideoFrame(
            f"{self.name}/{index:06d}",
            lambda: _upright(image),
            time=Fraction(time),
            duration=length * base if length else None,
        )

    def _missing(self, count: int, expected: int, problem: str) -> Frame:
        of = f" of {expected}" if expected > count else ""
        why = f" ({problem})" if problem else ""
        message = f"{self.where} is truncated or damaged{why}: it has {count}{of} frames that can be read"

        def fail() -> Tensor:
            raise PredictionError(message)

        return MissingFrame(f"{self.name}/{count:06d}", fail)


@register_frame_source("video", suffixes=VIDEO_SUFFIXES)
class VideoFile(Video):
    """A video file, or one at an address (http, https).

    Parameters
    ----------
    where : str
        The file or the address.

    Raises
    ------
    PredictionError
        When the [video] extra is missing, or the file cannot be opened.
    """

    def __init__(self, where: str) -> None:
        self.is_file = "://" not in where
        path = expand_home(where)
        if self.is_file and not path.is_file():
            raise PredictionError(f"no video at {where}")
        options = FILE_OPTIONS if self.is_file else WEB_OPTIONS
        super().__init__(str(path) if self.is_file else where, Path(where).stem, options)
        with self.open() as container:
            self.num_frames = self._stream(container).frames or None


class LiveVideo(Video):
    """A stream or a camera: when it stops it is opened again, and its frames go on at the time that has passed.

    It ends when it has not come back within `PATIENCE` seconds. Arguments are those of `Video`.
    """

    def __iter__(self) -> Iterator[Frame]:
        """Decode frames; one that says that the source was lost comes last, unless it ended by itself."""
        count, end, problem = 0, Fraction(0), False
        seen = time.monotonic()
        while True:
            shift = end + Fraction(time.monotonic() - seen).limit_denominator(1000) if count else end
            try:
                for frame in super().__iter__():
                    problem = isinstance(frame, MissingFrame)
                    if not isinstance(frame, VideoFrame):
                        break
                    moved = replace(frame, id=f"{self.name}/{count:06d}", time=frame.time + shift)
                    end, count = moved.time + (moved.duration or 0), count + 1
                    yield moved
                    seen = time.monotonic()  # whoever takes the frames may be slow
            except PredictionError:  # it cannot be opened
                if not count:
                    raise
                problem = True
            if time.monotonic() - seen > PATIENCE:
                break
            time.sleep(_PAUSE)
        if problem:
            yield self._lost(count)

    def _lost(self, count: int) -> Frame:
        message = f"{self.where} stopped after {count} frames and did not come back within {PATIENCE:g} seconds"

        def fail() -> Tensor:
            raise PredictionError(message)

        return MissingFrame(f"{self.name}/{count:06d}", fail)


@register_frame_source("stream", schemes=STREAM_SCHEMES)
class VideoStream(LiveVideo):
    """A network stream, such as that of a camera at rtsp://…, until it ends.

    Parameters
    ----------
    where : str
        Its address.
    """

    def __init__(self, where: str) -> None:
        super().__init__(where, "stream", {"rtsp_transport": "tcp"} if where.startswith("rtsp") else {})


@register_frame_source("camera")
class Camera(LiveVideo):
    """A camera of this computer by its number, such as 0 or camera:0.

    Parameters
    ----------
    where : str
        The number, or the name that the system has for it.
    """

    def __init__(self, where: str) -> None:
        format, device = _camera_of_system(where)
        super().__init__(device, "camera", {}, format)


def _camera_of_system(where: str) -> tuple[str, str]:
    """Return FFmpeg's format for cameras of this system, and the name of a camera in it."""
    if sys.platform == "darwin":
        return "avfoundation", where
    if sys.platform == "win32":
        return "dshow", f"video={where}"
    return "v4l2", f"/dev/video{where}" if where.isdecimal() else where


def import_av() -> Any:
    """Return PyAV.

    Raises
    ------
    PredictionError
        When it is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise PredictionError("videos and cameras need PyAV: pip install 'vitrail[video]'") from error
    return av


def _promised_end(container: InputContainer, stream: Any) -> Fraction | None:
    """Return the seconds at which the pictures end as far as the file says so; None where it does not."""
    av = import_av()
    if stream.duration:
        begin = (stream.start_time or 0) * stream.time_base - Fraction(container.start_time or 0, av.time_base)
        return Fraction(begin + stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # of Matroska: 00:01:30.040000000
    if _DURATION.fullmatch(tag):
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    only_pictures = len(container.streams) == 1
    return Fraction(container.duration, av.time_base) if only_pictures and container.duration else None


def _decode(packet: Any) -> tuple[list[av.VideoFrame], str]:
    """Return the frames of a packet, and what is wrong with it."""
    av = import_av()
    try:
        return packet.decode(), ""
    except av.error.InvalidDataError as error:  # the next packets may be whole
        return [], _reason(error)
    except av.error.EOFError:
        return [], ""


def _upright(image: av.VideoFrame) -> Tensor:
    """Return a decoded frame as uint8 RGB [3, H, W], turned as the file says."""
    pixels: np.ndarray = image.to_ndarray(format="rgb24")
    quarters = round(image.rotation / 90) % 4  # counterclockwise
    return torch.from_numpy(np.ascontiguousarray(np.rot90(pixels, quarters).transpose(2, 0, 1)))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
