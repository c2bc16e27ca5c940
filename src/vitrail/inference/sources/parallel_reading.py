"""Frames that threads read and decode ahead of who uses them."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from vitrail.datasets.pixel_format import PixelFormat
from vitrail.inference.sources.frame import Frame, FrameSource


class ParallelReading:
    """The frames of a source in their order, which several threads read up to twice their number ahead.

    Parameters
    ----------
    frames : FrameSource
        All frames.
    wanted : PixelFormat
        What they are read as.
    threads : int
        Number of threads. So many images, three times, are in memory.
    """

    def __init__(self, frames: FrameSource, wanted: PixelFormat, threads: int) -> None:
        self.num_frames = frames.num_frames
        self._frames, self._wanted, self._threads = frames, wanted, threads

    def __iter__(self) -> Iterator[Frame]:
        ahead: deque[tuple[Frame, Future[Tensor]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="vitrail read") as pool:
            try:
                for frame in self._frames:
                    ahead.append((frame, pool.submit(frame.pixels, self._wanted)))
                    if len(ahead) > 2 * self._threads:
                        yield _read(*ahead.popleft())
                while ahead:
                    yield _read(*ahead.popleft())
            finally:
                for _, future in ahead:
                    future.cancel()


def _read(frame: Frame, pixels: Future[Tensor]) -> Frame:
    """Return a frame whose pixels are on their way; an error is raised where they are asked for."""
    return dataclasses.replace(frame, read=pixels.result, read_as=lambda wanted: pixels.result())
