"""Opens what a user passes as images: names, pixels, sequences, generators."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.errors import PredictionError
from vitrail.files.home import expand_home
from vitrail.files.remote import remote_address
from vitrail.inference.sources.frame import FRAME_SOURCES, Frame, FrameSource, MissingFrame, Pixels, find_frame_source
from vitrail.inference.sources.images import ImageFiles, frame_names, matching_files
from vitrail.inference.sources.manifest import Manifest
from vitrail.inference.sources.remote_images import RemoteImages

Picture: TypeAlias = "str | Path | Pixels | Frame | FrameSource"
Pictures: TypeAlias = "Picture | Iterable[Picture]"
_ONE = (str, Path, Image.Image, np.ndarray, Tensor, Frame)


class JoinedFrames:
    """The frames of several sources, one source after the other.

    Parameters
    ----------
    sources : sequence of FrameSource
    """

    def __init__(self, sources: Sequence[FrameSource]) -> None:
        self.sources = tuple(sources)
        counts = [source.num_frames for source in self.sources]
        known = [count for count in counts if count is not None]
        self.num_frames: int | None = sum(known) if len(known) == len(counts) else None

    def __iter__(self) -> Iterator[Frame]:
        for source in self.sources:
            yield from source


class EveryNth:
    """Every n-th frame of a source, beginning with the first; the others are not read.

    Parameters
    ----------
    source : FrameSource
    n : int
    """

    def __init__(self, source: FrameSource, n: int) -> None:
        self.source = source
        self.n = n
        self.num_frames: int | None = None if source.num_frames is None else -(-source.num_frames // n)

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self.source):
            if index % self.n == 0 or isinstance(frame, MissingFrame):
                yield frame


class StreamedFrames:
    """The frames of an iterable of which nothing is known in advance, such as a generator that never ends.

    Each item is opened when its turn comes.

    Parameters
    ----------
    items : iterable
        What `open_frames` takes: names, pixels, frames, sources.
    """

    num_frames: int | None = None

    def __init__(self, items: Iterable[Picture]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Frame]:
        for item in self.items:
            yield from open_frames(item)


def open_frames(images: Pictures) -> FrameSource:
    """Return one frame source for everything that is passed as images.

    Parameters
    ----------
    images
        A file, folder, pattern or whatever else a frame source opens (as str or Path); pixels (PIL image, array
        [H, W, 3] or [N, H, W, 3], tensor [3, H, W] or [N, 3, H, W]; uint8); a `Frame` or `FrameSource`; or an iterable
        of those. A sequence is opened at once, so that a missing file is found before anything is computed, and its
        files get distinct names; any other iterable is read item by item.

    Raises
    ------
    PredictionError
        When there is no image where one should be.
    """
    if isinstance(images, FrameSource):
        return images
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        images = list(images)
    if isinstance(images, _ONE):
        return _open_one(images)
    if not isinstance(images, Iterable):
        raise PredictionError(f"a {type(images).__name__} is no image: give names, pixels, or an iterable of them")
    if not isinstance(images, Sequence):
        return StreamedFrames(images)
    if not images:
        raise PredictionError("no images were given")
    return JoinedFrames(_with_distinct_names([open_frames(item) for item in images]))


def input_files(source: FrameSource) -> Iterator[str | Path]:
    """Yield the image files of a source, paths and addresses, as far as they are known in advance."""
    if isinstance(source, JoinedFrames):
        for part in source.sources:
            yield from input_files(part)
    elif isinstance(source, EveryNth):
        yield from input_files(source.source)
    elif isinstance(source, ImageFiles):
        yield from (file for file, _ in source.files)
    elif isinstance(source, Manifest):
        yield from source.files
    elif isinstance(source, RemoteImages):
        yield from map(source.files.locate, source.paths)


def is_listed(source: FrameSource) -> bool:
    """Return whether the names of all frames of a source are known without reading or computing anything."""
    if isinstance(source, JoinedFrames):
        return all(map(is_listed, source.sources))
    if isinstance(source, EveryNth):
        return is_listed(source.source)
    return isinstance(source, (ImageFiles, Manifest, RemoteImages, _OneFrame))


def is_single(images: Pictures) -> bool:
    """Return whether `images` is exactly one image: one image file, or the pixels of one."""
    if isinstance(images, (str, Path)):
        name, where = find_frame_source(str(images))
        if remote_address(where) is not None:
            return name == "images" and where.lower().endswith(IMAGE_SUFFIXES) and not glob.has_magic(where)
        path = expand_home(where)
        return name == "images" and (path.is_file() or not (path.is_dir() or glob.has_magic(where)))
    if isinstance(images, (np.ndarray, Tensor)):
        return images.ndim < 4
    return isinstance(images, (Image.Image, Frame))


def _open_one(image: str | Path | Pixels | Frame) -> FrameSource:
    if isinstance(image, (str, Path)):
        return _open_named(str(image))
    return _OneFrame(image if isinstance(image, Frame) else Frame.of_pixels(image))


class _OneFrame:
    """A source of one frame."""

    num_frames: int | None = 1

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __iter__(self) -> Iterator[Frame]:
        yield self.frame


def _open_named(where: str) -> FrameSource:
    if not where:
        raise PredictionError('an empty name is no image; the folder where you are is "."')
    name, rest = find_frame_source(where)
    kind = FRAME_SOURCES[name]
    if name == "images" or not glob.has_magic(rest) or not rest.lower().endswith(kind.suffixes):
        return kind.open(rest)
    matches = [rest] if expand_home(rest).exists() else matching_files(str(expand_home(rest)))
    if not matches:
        raise PredictionError(f"nothing matches {where}")
    return JoinedFrames([kind.open(str(match)) for match in matches])


def _with_distinct_names(sources: Sequence[FrameSource]) -> list[FrameSource]:
    """Name the image files of all sources apart from one another."""
    names = iter(frame_names([file for source in sources if isinstance(source, ImageFiles) for file in source.files]))
    return [
        ImageFiles(source.files, [next(names) for _ in source.files]) if isinstance(source, ImageFiles) else source
        for source in sources
    ]
