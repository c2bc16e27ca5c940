"""Georeference of GeoTIFF files: the coordinate reference system and the transform, from an image to its mask.

OGC 19-008r4, "OGC GeoTIFF Standard", 2019, sections 7.1 and 7.2.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import TiffImagePlugin

from vitrail.errors import PredictionError
from vitrail.files.atomic import atomic_path

GeoTags: TypeAlias = Mapping[int, "tuple[float, ...] | tuple[int, ...] | str"]
"""The values of the TIFF tags that hold a georeference, by number."""

_DOUBLES = (33550, 33922, 34264, 34736)  # pixel scale, tie points, transformation, parameters
_KEYS, _TEXT = 34735, 34737
_PLACE = (33922, 34264)  # one of them says where the image lies
_ORIENTATION = 274


def read_georeference(path: Path) -> GeoTags | None:
    """Return the georeference of a TIFF file, or None where it has none that holds for its pixels as they are read.

    Only the directory of the file's first image is read; a damaged one has none.
    """
    try:
        with path.open("rb") as file:
            tags = _directory(file)
        if tags.get(_ORIENTATION, 1) != 1 or not any(tag in tags for tag in _PLACE):
            return None
        found: dict[int, Any] = {tag: tuple(map(float, tags[tag])) for tag in _DOUBLES if tag in tags}
        if _KEYS in tags:
            found[_KEYS] = tuple(map(int, tags[_KEYS]))
        if _TEXT in tags:
            found[_TEXT] = str(tags[_TEXT])
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error, UserWarning):
        return None
    return found


def _directory(file: BinaryIO) -> Mapping[int, Any]:
    header = file.read(8)
    if header[2:3] == b"+" or header[3:4] == b"+":  # BigTIFF
        header += file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(directory.next)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # what Pillow makes of a damaged directory
        directory.load(file)
    return directory


def write_geotiff(path: Path, mask: np.ndarray, palette: Sequence[tuple[int, int, int]], georeference: GeoTags) -> None:
    """Write class indices with a georeference as a compressed TIFF file; 8-bit ones with the classes' colours.

    Parameters
    ----------
    path : Path
        The file; replaced when it exists, written whole or not at all.
    mask : ndarray
        Class indices [H, W].
    palette : sequence of (int, int, int)
        One RGB colour per class.
    georeference : mapping
        As `read_georeference` returns it.

    Raises
    ------
    PredictionError
        Without tifffile.
    """
    try:
        import tifffile
    except ImportError as error:
        raise PredictionError(f"{path} needs tifffile to be written: pip install 'vitrail[data]'") from error
    extra = [_extra(tag, value) for tag, value in sorted(georeference.items())]
    coloured: dict[str, Any] = {"photometric": "minisblack"}
    if mask.dtype == np.uint8:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, : len(palette)] = np.array(palette, np.uint16).T * 257
        coloured = {"photometric": "palette", "colormap": colours}
    else:
        mask = mask.astype(np.uint16)
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, mask, compression="zlib", metadata=None, extratags=extra, **coloured)


def _extra(tag: int, value: Any) -> tuple[int, str, int, Any, bool]:
    if isinstance(value, str):
        return tag, "s", 0, value, True
    return tag, "H" if tag == _KEYS else "d", len(value), value, True
