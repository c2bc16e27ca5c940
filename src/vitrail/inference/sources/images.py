"""The images that a caller means: files, folders, patterns, and pixels in memory."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitrail.datasets import read_image
from vitrail.errors import PredictionError

Picture: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2"})


@dataclass(frozen=True)
class ImageSource:
    """One image that is not read yet.

    Attributes
    ----------
    id : str
        The file's name without its suffix, below the folder that was given; empty for pixels in memory.
    read : callable
        Returns it as uint8 RGB [3, H, W]; raises a VitrailError that names the file.
    """

    id: str
    read: Callable[[], Tensor]


def is_single(images: Picture | Sequence[Picture | ImageSource]) -> bool:
    """Say whether the caller means exactly one image: a file, or pixels of one."""
    if isinstance(images, (str, Path)):
        return Path(images).expanduser().is_file() or not (
            Path(images).expanduser().is_dir() or glob.has_magic(str(images))
        )
    if isinstance(images, (np.ndarray, Tensor)):
        return images.ndim < 4
    return isinstance(images, Image.Image)


def find_images(images: Picture | Sequence[Picture | ImageSource]) -> list[ImageSource]:
    """Return every image that is meant, the files of a folder or pattern in the order of their names.

    Raises
    ------
    PredictionError
        When there is nothing where images should be, or pixels are not 8-bit RGB or grey.
    """
    if isinstance(images, (str, Path, Image.Image, np.ndarray, Tensor)):
        items: list[Picture | ImageSource] = (
            list(images) if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4 else [images]
        )
    else:
        items = list(images)
    if not items:
        raise PredictionError("no images were given")
    files: list[tuple[Path, Path]] = []
    sources: list[ImageSource | None] = []
    for item in items:
        if isinstance(item, (str, Path)):
            found = list(_files(item))
            files += found
            sources += [None] * len(found)
        elif isinstance(item, ImageSource):
            sources.append(item)
        else:
            sources.append(_in_memory(item))
    named = iter(_named(files))
    return [next(named) if source is None else source for source in sources]


def _files(where: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield (file, its path below what was given)."""
    path = Path(where).expanduser()
    if path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not below:
            raise PredictionError(f"no images in the folder {path}: looked for {', '.join(sorted(SUFFIXES))}")
        yield from ((file, file.relative_to(path)) for file in below)
    elif path.is_file():
        yield path, Path(path.name)
    elif glob.has_magic(str(path)):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute patterns too
        matches = [match for match in matches if match.suffix.lower() in SUFFIXES and match.is_file()]
        if not matches:
            raise PredictionError(f"no image matches {where}")
        yield from ((match, Path(match.name)) for match in matches)
    else:
        raise PredictionError(f"no image at {where}")


def _named(files: Sequence[tuple[Path, Path]]) -> Iterator[ImageSource]:
    """Name files without their suffix, with it where that alone tells two apart, and with their folders where not."""
    short = Counter(below.with_suffix("") for _, below in files)
    full = Counter(below for _, below in files)
    for file, below in files:
        name = below.with_suffix("") if short[below.with_suffix("")] == 1 else below
        if full[below] > 1:
            name = file.resolve().relative_to(file.resolve().anchor)
        yield ImageSource(name.as_posix(), lambda file=file: read_image(file).as_subclass(Tensor))  # type: ignore[misc]


def _in_memory(image: Image.Image | np.ndarray | Tensor) -> ImageSource:
    pixels = _pixels(image)
    return ImageSource("", lambda: pixels)


def _pixels(image: Image.Image | np.ndarray | Tensor) -> Tensor:
    if isinstance(image, Tensor):
        tensor = image.as_subclass(Tensor)
    else:
        array = np.array(image.convert("RGB") if isinstance(image, Image.Image) else image)
        tensor = torch.from_numpy(np.moveaxis(array, -1, 0) if array.ndim == 3 else array)
    if tensor.ndim == 2 or (tensor.ndim == 3 and tensor.shape[0] == 1):
        tensor = tensor.expand(3, *tensor.shape[-2:])
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[0] not in (3, 4) or 0 in tensor.shape:
        raise PredictionError(
            f"an image of {tensor.dtype} {list(tensor.shape)} is neither uint8 [H, W, 3] (an array) nor uint8 "
            "[3, H, W] (a tensor): give RGB values 0…255, not normalised"
        )
    return tensor[:3]
