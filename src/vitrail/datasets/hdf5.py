"""Arrays in HDF5 files, such as MATLAB's of format 7.3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.errors import DatasetError
from vitrail.files.regular import check_regular


class Hdf5Arrays:
    """Arrays of one HDF5 file, read one index at a time.

    The file is opened again in every process, since a handle must not be shared by several.

    Parameters
    ----------
    path : Path
        The file.
    shapes : mapping from str to tuple of int or None
        The names of the arrays, and the shape that each has to have; None is any length.

    Raises
    ------
    DatasetError
        When h5py is not installed, or the file is damaged or holds no such arrays.
    """

    def __init__(self, path: Path, shapes: dict[str, tuple[int | None, ...]]) -> None:
        self.path = path
        self.shapes = shapes
        self._opened: tuple[int, Any] | None = None
        try:
            for name in shapes:
                self._array(name)
        except DatasetError:
            self.close()
            raise

    def read(self, name: str, index: int) -> npt.NDArray[Any]:
        """Return the part of an array at an index of its first dimension."""
        try:
            return np.asarray(self._array(name)[index])
        except OSError as error:
            raise DatasetError(
                f"cannot read {name} {index} of {self.path}: {error}; is the download complete?"
            ) from error

    def length(self, name: str) -> int:
        """Return the length of an array."""
        return int(self._array(name).shape[0])

    def _array(self, name: str) -> Any:
        file, h5py = self._file(), _import_h5py()
        link = file.get(name, getlink=True)
        array = file.get(name) if isinstance(link, h5py.HardLink) else None  # another link may lead to another file
        expected = self.shapes[name]
        if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
            raise DatasetError(f"{self.path} holds no array {name!r}")
        fits = len(array.shape) == len(expected) and all(
            size in (None, own) for size, own in zip(expected, array.shape, strict=True)
        )
        if not fits or not np.issubdtype(array.dtype, np.integer):
            raise DatasetError(
                f"{self.path}: {name} is {array.dtype} {list(array.shape)}, not integers {list(expected)}"
            )
        return array

    def _file(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            check_regular(self.path, DatasetError)
            try:
                self._opened = (os.getpid(), _import_h5py().File(self.path, "r"))
            except OSError as error:
                raise DatasetError(f"cannot read {self.path}: {error}; is the download complete?") from error
        return self._opened[1]

    def close(self) -> None:
        """Close the file; it is opened again by the next read."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _import_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DatasetError("MATLAB files of format 7.3 need h5py: pip install 'vitrail[matlab]'") from error
    return h5py
