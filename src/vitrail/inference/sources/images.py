"""Image files, folders and patterns as frame sources."""

from __future__ import annotations

import functools
import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from vitrail.datasets import read_image
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import PredictionError
from vitrail.files.home import expand_home
from vitrail.files.remote import STORAGES, remote_address
from vitrail.inference.georeference import read_georeference
from vitrail.inference.sources.frame import Frame, register_frame_source
from vitrail.inference.sources.remote_images import RemoteImages, open_remote_images


class ImageFiles:
    """Image files as a frame source.

    Parameters
    ----------
    files : sequence of (Path, Path)
        Each file, and its path below the folder that the user named.
    names : sequence of str, optional
        The id of each frame; None takes `frame_names(files)`.
    """

    def __init__(self, files: Sequence[tuple[Path, Path]], names: Sequence[str] | None = None) -> None:
        self.files = tuple(files)
        self.names = tuple(frame_names(files) if names is None else names)
        self.num_frames: int | None = len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        for (file, _), name in zip(self.files, self.names, strict=True):
            yield file_frame(file, name)


@register_frame_source("images", suffixes=IMAGE_SUFFIXES, schemes=STORAGES)
def open_image_files(where: str) -> ImageFiles | RemoteImages:
    """Open a file, a folder with the folders below it, or a pattern such as "photos/*.jpg", sorted by name.

    Each may be in object storage, such as s3://bucket/photos.

    Raises
    ------
    PredictionError
        When there is no image.
    """
    address = remote_address(where)
    if address is not None:
        return open_remote_images(address)
    path = expand_home(where)
    if path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        if not below:
            raise PredictionError(f"no images in the folder {path}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
        return ImageFiles([(file, file.relative_to(path)) for file in below])
    if path.is_file():
        return ImageFiles([(path, Path(path.name))])
    if glob.has_magic(str(path)):
        matches = [match for match in matching_files(str(path)) if match.suffix.lower() in IMAGE_SUFFIXES]
        if not matches:
            raise PredictionError(f"no image matches {where}")
        return ImageFiles([(match, Path(match.name)) for match in matches])
    raise PredictionError(f"no image at {where}")


def file_frame(file: str | Path, name: str) -> Frame:
    """Return the frame of an image file, under a name."""
    tiff = str(file).lower().endswith((".tif", ".tiff"))
    return Frame(
        name,
        functools.partial(_read_file, file, RGB),
        functools.partial(_read_file, file),
        functools.partial(read_georeference, Path(file)) if tiff else None,
    )


def _read_file(file: str | Path, wanted: PixelFormat) -> Tensor:
    return read_image(file, wanted).as_subclass(Tensor)


def matching_files(pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted by name."""
    return [match for match in sorted(map(Path, glob.glob(pattern, recursive=True))) if match.is_file()]  # noqa: PTH207 - absolute patterns too


def frame_names(files: Sequence[tuple[Path, Path]]) -> list[str]:
    """Return a distinct name for each file.

    It is the path below the named folder without its suffix; with the suffix where two files differ in nothing else,
    and with all folders where that is not enough.
    """
    short = Counter(below.with_suffix("") for _, below in files)
    full = Counter(below for _, below in files)
    names = []
    for file, below in files:
        name = below.with_suffix("") if short[below.with_suffix("")] == 1 else below
        if full[below] > 1:
            name = file.resolve().relative_to(file.resolve().anchor)
        names.append(name.as_posix())
    return names
