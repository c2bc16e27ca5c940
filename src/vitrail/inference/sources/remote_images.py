"""Image files behind an address as a frame source: a folder, a pattern or one file in object storage."""

from __future__ import annotations

import functools
import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from torch import Tensor

from vitrail.datasets.image_files import IMAGE_SUFFIXES, decode_image
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.remote_storage import RemoteFolder
from vitrail.errors import DatasetError, PredictionError
from vitrail.inference.sources.frame import Frame

_WILD = re.compile(r"\*\*/|\*|\?|\[[^\]]+\]|[^*?\[]+|.")


class RemoteImages:
    """Images below an address, each read when its turn comes.

    Parameters
    ----------
    files : RemoteFolder
        The storage.
    paths : sequence of str
        The images in it.
    """

    def __init__(self, files: RemoteFolder, paths: Sequence[str]) -> None:
        self.files = files
        self.paths = tuple(paths)
        self.num_frames: int | None = len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        short = Counter(str(PurePosixPath(path).with_suffix("")) for path in self.paths)
        for path in self.paths:
            name = str(PurePosixPath(path).with_suffix(""))
            yield remote_frame(self.files, path, name if short[name] == 1 else path)


def open_remote_images(address: str) -> RemoteImages:
    """Open a folder with the folders below it, a pattern such as "s3://bucket/photos/*.jpg", or one file.

    Raises
    ------
    PredictionError
        When there is no image, or the storage cannot be read.
    """
    try:
        if glob.has_magic(address):
            fixed = re.split(r"[*?\[]", address, maxsplit=1)[0].rpartition("/")[0]
            pattern = _regex(address[len(fixed) + 1 :])
            files = RemoteFolder(fixed)
            paths = [path for path in files.below("") if pattern.fullmatch(path)]
        elif address.lower().endswith(IMAGE_SUFFIXES):
            folder, _, name = address.rpartition("/")
            return RemoteImages(RemoteFolder(folder), [name])
        else:
            files = RemoteFolder(address)
            paths = files.below("")
    except DatasetError as error:
        raise PredictionError(str(error)) from error
    paths = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    if not paths:
        raise PredictionError(f"no images at {address}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return RemoteImages(files, paths)


def remote_frame(files: RemoteFolder, path: str, name: str) -> Frame:
    """Return the frame of an image in a storage, under a name."""
    return Frame(name, functools.partial(_read, files, path, RGB), functools.partial(_read, files, path))


def _read(files: RemoteFolder, path: str, wanted: PixelFormat) -> Tensor:
    return decode_image(files.read(path), files.locate(path), wanted).as_subclass(Tensor)


def _regex(pattern: str) -> re.Pattern[str]:
    """Return the expression for a pattern, in which * stays within a folder and **/ means any."""
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    pieces = _WILD.findall(pattern)
    return re.compile("".join(known.get(piece) or (piece if piece[0] == "[" else re.escape(piece)) for piece in pieces))
