"""Writes pictures as a video, with the sound of another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vitrail.errors import PredictionError
from vitrail.files.atomic import atomic_path
from vitrail.inference.sources.video import FILE_OPTIONS, import_av

# Suffixes that can be written, with an encoder that every build of PyAV has.
ENCODERS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
QUALITY = {"libx264": {"crf": "20", "preset": "veryfast"}, "libvpx-vp9": {"crf": "32", "b": "0", "cpu-used": "6"}}


def is_video_name(path: Path) -> bool:
    """Return whether the suffix of a name is one of a video that can be written."""
    return path.suffix.lower() in ENCODERS


class VideoWriter:
    """A video file that is written picture by picture; use it in a `with` block.

    It appears when the block ends, also by Ctrl-C: with what was written until then. An error in the block, and a block
    without a picture, leave what was there before.

    Parameters
    ----------
    path : Path
        Its suffix, one of `ENCODERS`, selects the format.
    rate : Fraction
        Pictures per second, on average.
    time_base : Fraction
        The unit of the pictures' times, in seconds.
    audio : str, optional
        A file whose first sound track is copied, as it is.

    Raises
    ------
    PredictionError
        When the file cannot be written.
    """

    def __init__(self, path: Path, rate: Fraction, time_base: Fraction, audio: str | None = None) -> None:
        av = import_av()
        self.path = path
        self._errors = (av.error.FFmpegError, OSError, ValueError)
        self._time_base = time_base
        self._size: tuple[int, int] | None = None
        self._last = -1
        self._place = atomic_path(path, durable=False)
        try:
            self._output = av.open(str(self._place.__enter__()), "w", format=_container(path))
        except self._errors as error:
            raise PredictionError(f"cannot write {path}: {error}") from error
        encoder = ENCODERS[path.suffix.lower()]
        self._stream = self._output.add_stream(encoder, rate=rate, options=QUALITY[encoder])
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = time_base
        try:
            self._audio = None if audio is None else _open_audio(audio, self._output, path)
        except PredictionError:
            self._put_in_place(whole=False)
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what the encoder still holds, close the file and put it in place."""
        whole = False
        try:
            if self._size is not None and (error is None or isinstance(error, KeyboardInterrupt)):
                self._encode(None)
                self._copy_audio(None)
                whole = True
        finally:
            if self._audio is not None:
                self._audio.close()
            self._output.close()
            self._put_in_place(whole)

    def write(self, picture: np.ndarray, time: Fraction, duration: Fraction | None = None) -> None:
        """Add a picture.

        Parameters
        ----------
        picture : ndarray
            uint8 RGB [H, W, 3], of the same size as all others. An odd side gets one more row or column, the same as
            its neighbour, which the format needs.
        time : Fraction
            Seconds from the beginning of the video.
        duration : Fraction, optional
            Seconds until the next picture.

        Raises
        ------
        PredictionError
            When the picture has another size, or cannot be written.
        """
        av = import_av()
        if self._size is None:
            self._size = picture.shape[:2]
            self._stream.height, self._stream.width = (side + side % 2 for side in self._size)
        if picture.shape[:2] != self._size:
            height, width = picture.shape[:2]
            raise PredictionError(
                f"a picture of {width} × {height} does not fit into a video of {self._size[1]} × {self._size[0]}: "
                "give pictures of one size, or a folder for the results"
            )
        height, width = self._size
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.time_base = self._time_base
        # Times never go back, whatever a damaged file says: encoders refuse it.
        frame.pts = self._last = max(round(time / self._time_base), self._last + 1)
        if duration is not None:
            frame.duration = max(1, round(duration / self._time_base))
        self._encode(frame)
        self._copy_audio(time)

    def _put_in_place(self, whole: bool) -> None:
        if whole:
            self._place.__exit__(None, None, None)
            return
        nothing = PredictionError(f"nothing was written to {self.path}")
        with contextlib.suppress(PredictionError):
            self._place.__exit__(PredictionError, nothing, None)

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._output.mux(packet)
        except self._errors as error:
            raise PredictionError(f"cannot write {self.path}: {error}") from error

    def _copy_audio(self, until: Fraction | None) -> None:
        """Copy the sound up to a time, or all of it, so that sound and pictures stand side by side in the file."""
        if self._audio is not None:
            try:
                for packet in self._audio.until(until):
                    self._output.mux(packet)
            except self._errors as error:
                raise PredictionError(f"cannot copy the sound to {self.path}: {error}") from error


class _Audio:
    """The packets of a sound track, in order.

    Parameters
    ----------
    container
        The open file.
    target
        The stream that the packets become part of.
    """

    def __init__(self, container: Any, target: Any) -> None:
        self._container = container
        self._target = target
        self._start = Fraction(container.start_time or 0, import_av().time_base)
        self._packets = iter(container.demux(container.streams.audio[0]))
        self._next: Any = None
        self._ended = False

    def until(self, time: Fraction | None) -> Iterator[Any]:
        """Yield the packets that begin before a time, or all that are left; a damaged file ends the sound."""
        while (packet := self._peek()) is not None and (time is None or packet.dts * packet.time_base <= time):
            self._next = None
            packet.stream = self._target
            yield packet

    def _peek(self) -> Any:
        av = import_av()
        while self._next is None and not self._ended:
            try:
                packet = next(self._packets)
            except (StopIteration, av.error.FFmpegError):
                self._ended = True
                return None
            if packet.dts is not None:  # the last one is empty
                shift = round(self._start / packet.time_base)
                packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
                self._next = packet
        return self._next

    def close(self) -> None:
        self._container.close()


def _open_audio(path: str, output: Any, target: Path) -> _Audio | None:
    av = import_av()
    container = av.open(path, options=dict(FILE_OPTIONS))
    if not container.streams.audio:
        container.close()
        return None
    source = container.streams.audio[0]
    if source.codec_context.name not in output.supported_codecs and source.codec.name not in output.supported_codecs:
        container.close()
        output.close()
        raise PredictionError(
            f"the sound of {path} ({source.codec.name}) cannot be copied to {target}: write a .mkv, or leave the sound "
            "out with audio=False (--no-audio)"
        )
    return _Audio(container, output.add_stream_from_template(source))


def _container(path: Path) -> str:
    return {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}[path.suffix.lower()]
