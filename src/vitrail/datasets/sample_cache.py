"""A folder of decoded images and masks, which are read instead of the files where these have not changed."""

from __future__ import annotations

import hashlib
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.datasets.pairs import Pair
from vitrail.datasets.stamps import pair_stamp, settings_hash
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError
from vitrail.files.atomic import atomic_path
from vitrail.files.home import expand_home

Decoded = tuple[tv_tensors.Image, tv_tensors.Mask]

SPARE_BYTES = 1 << 30  # of the disk, which are left free
_VERSION = 1  # of the files; a change makes those that are there useless
_LOGGER = logging.getLogger(__name__)


class SampleCache:
    """Decoded images and masks of one source.

    A file holds the pixels of an image and of its mask as they are in memory, so that reading it is copying it: larger
    than a PNG or JPEG, and many times faster. Files appear whole or not at all, and processes share them.

    Parameters
    ----------
    folder : path
        Where; it is made when it is needed.
    settings : str
        What the pixels depend on besides the files; see `settings_hash`.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        self.settings = settings
        self._writes = True

    def load(self, stamp: str, decode: Callable[[], Decoded]) -> Decoded:
        """Return an image and its mask: as kept under a stamp, or else decoded, and kept from then on.

        A disk that is full or cannot be written stops the keeping, with a warning, and not the training.
        """
        name = hashlib.sha256(f"{self.settings}|{stamp}".encode(errors="surrogatepass")).hexdigest()
        path = self.folder / name[:2] / name[2:]
        kept = _read(path)
        if kept is not None:
            return kept
        decoded = decode()
        if self._writes:
            self._keep(path, decoded)
        return decoded

    def _keep(self, path: Path, decoded: Decoded) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < SPARE_BYTES:
                raise OSError("less than 1 GiB of the disk is free")
            with atomic_path(path, durable=False) as temporary, temporary.open("wb") as file:
                for pixels in decoded:
                    _write(file, pixels.as_subclass(Tensor))
        except OSError as error:
            self._writes = False
            _LOGGER.warning("data.cache: %s: no more decoded images are kept in %s", error, self.folder)


class CachedFiles(ABC):
    """Base of sources of image files, whose decoded images and masks can be kept.

    Attributes
    ----------
    files : Files
        Storage of the images.
    pairs : sequence of Pair
        The images with their masks, or with the files that describe these.
    cache : SampleCache or None
        Keeps what `load` decodes.
    """

    files: Files
    pairs: Sequence[Pair]
    cache: SampleCache | None = None

    def load(self, index: int) -> Decoded:
        """Return image, uint8 [C, H, W], and mask, uint8 or int16 [H, W].

        Raises
        ------
        DatasetError
            When a file is unreadable, the mask's size is not the image's, or the mask holds an unknown value.
        """
        if self.cache is None:
            return self._decode(index)
        return self.cache.load(pair_stamp(self.files, self.pairs[index]), lambda: self._decode(index))

    @abstractmethod
    def _decode(self, index: int) -> Decoded:
        """Decode image and mask; see `load`."""


def use_cache(source: Any, folder: str | Path) -> None:
    """Let all parts of a source that read image files keep what they decode in a folder.

    Raises
    ------
    DatasetError
        When nothing of it can be kept, as of images that are generated, or `folder` is a file.
    """
    folder = expand_home(folder)
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"data.cache: {folder} is a file, not a folder for decoded images")
    found = _readers(source)
    if not found:
        raise DatasetError(
            "data.cache keeps images that are decoded from files, which this dataset's are not: leave it out"
        )
    for reader in found:
        reader.cache = SampleCache(folder, settings_hash(reader, version=_VERSION))


def _readers(source: Any) -> list[CachedFiles]:
    """Return the sources, in what wraps or joins them, that read image files."""
    if isinstance(source, CachedFiles):
        return [source]
    inner = [getattr(source, name) for name in ("source", "frames") if hasattr(source, name)]
    return [reader for part in [*inner, *getattr(source, "sources", ())] for reader in _readers(part)]


def _write(file: IO[bytes], pixels: Tensor) -> None:
    """Write pixels, in the order of the dimensions in memory, which some operators' results depend on."""
    last = pixels.ndim == 3 and pixels.permute(1, 2, 0).is_contiguous()
    np.save(file, np.asarray(last), allow_pickle=False)
    np.save(file, (pixels.permute(1, 2, 0) if last else pixels.contiguous()).numpy(), allow_pickle=False)


def _read(path: Path) -> Decoded | None:
    """Return what a file holds; None where there is none, or one that is damaged."""
    try:
        with path.open("rb") as file:
            image, mask = (_read_pixels(file) for _ in range(2))
    except (OSError, ValueError, EOFError):
        return None
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


def _read_pixels(file: IO[bytes]) -> Tensor:
    last = bool(np.load(file, allow_pickle=False))
    pixels = torch.from_numpy(np.load(file, allow_pickle=False))
    return pixels.permute(2, 0, 1) if last else pixels
