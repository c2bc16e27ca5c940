"""Volumes of NIfTI files, as scanners' images are published."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError

_MAX_BYTES = 2 << 30  # of a volume, unpacked
_HEADER = 348  # bytes of a NIfTI-1 header
_PACKED_HEADER = 1 << 12  # bytes of a packed file that hold it
_GZIP = 31  # what zlib calls a gzip stream of any window


def read_volume(files: Files, name: str) -> npt.NDArray[Any]:
    """Read a volume, packed by gzip or not.

    Returns
    -------
    ndarray
        [X, Y, Z], with the file's scaling applied.

    Raises
    ------
    DatasetError
        When nibabel is not installed, or the file is damaged, too large or no volume.
    """
    nibabel, where = _import_nibabel(), files.locate(name)
    try:
        image = nibabel.Nifti1Image.from_bytes(_unpacked(files.read(name), _MAX_BYTES))
        volume = np.asarray(image.dataobj)
    except Exception as error:  # a damaged file makes nibabel raise almost anything
        raise DatasetError(f"cannot read the volume {where}: {error!r}; is the download complete?") from error
    if volume.ndim != 3:
        raise DatasetError(f"the volume {where} has the shape {list(volume.shape)}: it should be [X, Y, Z]")
    return volume


def volume_shape(files: Files, name: str) -> tuple[int, ...]:
    """Return the shape of a volume by its header alone; errors as `read_volume`."""
    nibabel = _import_nibabel()
    try:
        header = _unpacked(files.start(name, _PACKED_HEADER), _HEADER)[:_HEADER]
        shape: tuple[int, ...] = nibabel.Nifti1Header.from_fileobj(io.BytesIO(header)).get_data_shape()
    except Exception as error:
        raise DatasetError(
            f"cannot read the volume {files.locate(name)}: {error!r}; is the download complete?"
        ) from error
    return shape


def _unpacked(data: bytes, limit: int) -> bytes:
    """Return the first bytes of a file, unpacked where it is packed."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpacker = zlib.decompressobj(_GZIP)
    found = unpacker.decompress(data, limit)
    if unpacker.unconsumed_tail and limit == _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES:,} bytes")
    return found


def _import_nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise DatasetError("volumes of NIfTI files need nibabel: pip install 'vitrail[data]'") from error
    return nibabel
