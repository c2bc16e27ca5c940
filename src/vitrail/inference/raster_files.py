"""Images that are read and written window by window: GeoTIFF, COG and pyramids of whole slides, by rasterio (GDAL)."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitrail.errors import PredictionError
from vitrail.files.atomic import atomic_path
from vitrail.files.home import expand_home
from vitrail.files.regular import check_regular
from vitrail.files.remote import RangeFile, RemoteStore, remote_address

RASTER_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif", ".jp2")
# GDAL's drivers by the first bytes. A file is data: formats that name other files or addresses (VRT) are none of them.
_DRIVERS = {b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff", b"\0\0\0\x0c": "JP2OpenJPEG"}
_CACHE = 256  # megabytes of decoded tiles that GDAL keeps
_STEP = 1 << 20  # bytes to ask an object storage for at once
_TILE = 512
_SMALLEST_OVERVIEW = 512


class Box(NamedTuple):
    """A rectangle of pixels: rows top … bottom - 1, columns left … right - 1."""

    top: int
    left: int
    bottom: int
    right: int


@contextlib.contextmanager
def open_raster(where: str) -> Iterator[Any]:
    """Open an image, here or behind an address, as a rasterio dataset.

    Raises
    ------
    PredictionError
        Without rasterio, or when it is none that can be read by windows.
    """
    rasterio = import_rasterio()
    address = remote_address(where)
    if not address:
        check_regular(expand_home(where), PredictionError)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"))
        try:
            source = RangeFile(RemoteStore(address), "", _STEP) if address else expand_home(where).open("rb")
            stack.enter_context(source)
            driver = _DRIVERS.get(source.read(4))
            if driver is None:
                raise PredictionError(f"cannot open {where}: it is no TIFF, COG, whole slide or JPEG 2000 file")
            source.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                dataset = rasterio.open(source if address else expand_home(where), driver=driver)
            stack.enter_context(dataset)
        except OSError as error:
            raise PredictionError(f"cannot open {where}: {error.strerror or error}") from error
        except rasterio.errors.RasterioError as error:
            raise PredictionError(f"cannot open {where}: {error}") from error
        yield dataset


def read_window(dataset: Any, box: Box, where: str) -> npt.NDArray[Any]:
    """Return the pixels of a window, [H, W, C]; the colours of a palette.

    Raises
    ------
    PredictionError
        When they cannot be read.
    """
    rasterio = import_rasterio()
    window = ((box.top, box.bottom), (box.left, box.right))
    try:
        values: npt.NDArray[Any] = dataset.read(window=window)
        if dataset.colorinterp[0] == rasterio.enums.ColorInterp.palette:
            colours = dataset.colormap(1)
            table = np.array([colours.get(value, (0, 0, 0, 255))[:3] for value in range(256)], np.uint8)
            return table[values[0]]
    except rasterio.errors.RasterioError as error:
        raise PredictionError(f"cannot read {where} at row {box.top}, column {box.left}: {error}") from error
    return np.moveaxis(values, 0, -1)


def write_raster(
    path: Path, like: Any, blocks: Iterable[tuple[Box, np.ndarray]], palette: Sequence[tuple[int, int, int]]
) -> None:
    """Write class indices block by block as a tiled, compressed TIFF with overviews and the place of another image.

    Parameters
    ----------
    path : Path
        The file, written whole or not at all.
    like : rasterio dataset
        Gives size, coordinate reference system and transform.
    blocks : iterable of (Box, ndarray)
        Class indices [H, W]; each block may be computed when its turn comes.
    palette : sequence of (int, int, int)
        The colours of the classes.
    """
    rasterio = import_rasterio()
    narrow = len(palette) <= 255
    profile = {
        **{"driver": "GTiff", "width": like.width, "height": like.height, "count": 1, "crs": like.crs},
        **{"dtype": "uint8" if narrow else "uint16", "compress": "deflate"},
        **{"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "bigtiff": "if_safer"},
    }
    if not like.transform.is_identity:
        profile["transform"] = like.transform
    with atomic_path(path) as temporary, rasterio.Env(GDAL_CACHEMAX=_CACHE), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(temporary, "w", **profile) as target:
            if narrow:
                target.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(palette)})
            for box, mask in blocks:
                window = ((box.top, box.bottom), (box.left, box.right))
                target.write(mask.astype(profile["dtype"], copy=False), 1, window=window)
        factors = [2**level for level in range(1, 20) if max(like.shape) >> level >= _SMALLEST_OVERVIEW]
        if factors:
            with rasterio.open(temporary, "r+") as target:
                target.build_overviews(factors, rasterio.enums.Resampling.nearest)


def write_regions(
    path: Path,
    like: Any,
    blocks: Iterable[tuple[Box, np.ndarray]],
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> None:
    """Write the regions of the classes as a GeoJSON FeatureCollection, block by block: borders of blocks cut them.

    Coordinates and properties are those of `Prediction.to_geojson`; arguments as in `write_raster`.
    """
    rasterio = import_rasterio()
    from rasterio.features import shapes

    code = like.crs.to_epsg() if like.crs else None
    name = "urn:ogc:def:crs:OGC:1.3:CRS84" if code == 4326 else f"urn:ogc:def:crs:EPSG::{code}"
    crs = f'"crs": {json.dumps({"type": "name", "properties": {"name": name}})}, ' if code else ""
    place = like.transform if like.crs else rasterio.Affine(1, 0, 0, 0, -1, like.height)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"type": "FeatureCollection", {crs}"features": [')
        separator = "\n"
        for box, mask in blocks:
            a, b, c, d, e, f = place[:6]
            shift = (c + a * box.left + b * box.top, f + d * box.left + e * box.top)
            transform = rasterio.Affine(a, b, shift[0], d, e, shift[1])
            for geometry, value in shapes(mask.astype(np.uint16), transform=transform):
                index = int(value)
                colour = "#{:02x}{:02x}{:02x}".format(*palette[index])
                properties = {"class": index, "name": classes[index], "colour": colour}
                feature = {"type": "Feature", "properties": properties, "geometry": geometry}
                file.write(f"{separator}{json.dumps(feature)}")
                separator = ",\n"
        file.write("\n]}\n")


def import_rasterio() -> Any:
    """Return rasterio; a PredictionError says how to install it."""
    try:
        import rasterio
        import rasterio.enums
        import rasterio.errors
    except ImportError as error:
        raise PredictionError("images read by windows need rasterio: pip install 'vitrail[geo]'") from error
    return rasterio
