"""Georeference of GeoTIFF files: the coordinate reference system and the transform, from an image to its mask.

OGC 19-008r4, "OGC GeoTIFF Standard", 2019, sections 7.1 and 7.2.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from PIL import TiffImagePlugin

from vitrail.errors import PredictionError
from vitrail.files.atomic import atomic_path

GeoTags: TypeAlias = Mapping[int, "tuple[float, ...] | tuple[int, ...] | str"]
"""The values of the TIFF tags that hold a georeference, by number."""

_DOUBLES = (33550, 33922, 34264, 34736)  # pixel scale, tie points, transformation, parameters
_KEYS, _TEXT = 34735, 34737
_SCALE, _TIE_POINTS, _MATRIX = 33550, 33922, 34264
_PLACE = (_TIE_POINTS, _MATRIX)  # one of them says where the image lies
_ORIENTATION = 274
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_GEODETIC, _PROJECTED = 2048, 3072  # keys of the coordinate reference system's EPSG code
_USER_DEFINED = 32767
_WGS84 = 4326


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


class Affine(NamedTuple):
    """The map from the corners of pixels to coordinates: X = a x + b y + c, Y = d x + e y + f, with y downwards."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        """Return the coordinates of a point in pixels."""
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    @property
    def keeps_clockwise(self) -> bool:
        """Whether a ring that runs clockwise on the screen runs clockwise in these coordinates, whose y is upwards."""
        return self.a * self.e - self.b * self.d < 0


def pixel_to_world(georeference: GeoTags) -> Affine | None:
    """Return the map from pixels to the coordinates of the reference system; None for tie points without a scale."""
    matrix, scale, points = (georeference.get(tag) for tag in (_MATRIX, _SCALE, _TIE_POINTS))
    if isinstance(matrix, tuple) and len(matrix) == 16:
        affine = Affine(matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    elif isinstance(scale, tuple) and isinstance(points, tuple) and len(points) == 6:
        column, row, _, x, y, _ = points
        affine = Affine(scale[0], 0.0, x - scale[0] * column, 0.0, -scale[1], y + scale[1] * row)
    else:
        return None
    if _keys(georeference).get(_RASTER_TYPE) != _PIXEL_IS_POINT:
        return affine
    x, y = affine(-0.5, -0.5)  # the coordinates are those of the centres of pixels
    return affine._replace(c=x, f=y)


def crs_name(georeference: GeoTags) -> str | None:
    """Return the name of the coordinate reference system as a URN; None where the tags have no code for it."""
    keys = _keys(georeference)
    code = keys.get(_PROJECTED) or keys.get(_GEODETIC)
    if code is None or code == _USER_DEFINED:
        return None
    # Coordinates in TIFF files are longitude and latitude, in this order, which is CRS84.
    return "urn:ogc:def:crs:OGC:1.3:CRS84" if code == _WGS84 else f"urn:ogc:def:crs:EPSG::{code}"


def _keys(georeference: GeoTags) -> dict[int, int]:
    """Return the keys that have their value in the directory of keys (section 7.1.2 of the standard)."""
    directory = georeference.get(_KEYS)
    if not isinstance(directory, tuple):
        return {}
    entries = [directory[start : start + 4] for start in range(4, len(directory) - 3, 4)]
    return {int(key): int(value) for key, location, _, value in entries if location == 0}


def _extra(tag: int, value: Any) -> tuple[int, str, int, Any, bool]:
    if isinstance(value, str):
        return tag, "s", 0, value, True
    return tag, "H" if tag == _KEYS else "d", len(value), value, True
