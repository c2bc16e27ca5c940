"""Read image files of all common formats as 8-bit channels.

Pillow decodes all of them, but for TIFF files of many bands (tifffile) and NumPy arrays. torchvision's own decoders are
somewhat faster (PNG by a seventh, JPEG by a third), but they are deprecated since torchvision 0.29, and a PNG with a
flipped bit makes them end the process.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torchvision import tv_tensors

from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError, VitrailError
from vitrail.files.environment import env_number
from vitrail.files.regular import read_regular

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif", ".gif"),
    *(".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".npy"),
)
# Pillow's names of the formats of these suffixes, recognised by content. Others are never tried: EPS would start
# another program (Ghostscript), and every further decoder is one more that strangers' files could reach.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "GIF", "JPEG2000", "PPM", "TGA")
MAX_PIXELS = 1 << 30  # as 8-bit RGB they take 3 GB
_NPY_MAGIC = b"\x93NUMPY"
_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277  # TIFF tags
_OPENING = threading.Lock()


def read_image(path: str | Path, pixels: PixelFormat = RGB) -> tv_tensors.Image:
    """Read an image file as 8-bit channels, RGB by default.

    Grey, palette, CMYK, 16-bit and floating-point images are converted (see `PixelFormat`), and the orientation in the
    EXIF data is applied.

    Parameters
    ----------
    path : str or Path
        A file of any format in `FORMATS`, a TIFF of any number of bands, or a NumPy file (.npy) of an array
        [H, W] or [H, W, C].
    pixels : PixelFormat
        The number of channels and the range of values.

    Returns
    -------
    tv_tensors.Image
        uint8 [C, H, W].

    Raises
    ------
    DatasetError
        When the file is missing, truncated, too large, not an image, or does not fit `pixels`.
    """
    return decode_image(read_regular(path, DatasetError, what="the image "), str(path), pixels)


def decode_image(data: bytes, where: str, pixels: PixelFormat = RGB) -> tv_tensors.Image:
    """Decode the content of an image file; see `read_image`.

    Parameters
    ----------
    data : bytes
        Content of the file.
    where : str
        Name of the file for error messages.
    pixels : PixelFormat
        The number of channels and the range of values.
    """
    return tv_tensors.Image(torch.from_numpy(pixels.convert(decode_bands(data, where, pixels.channels), where)))


def decode_bands(data: bytes, where: str, channels: int = 3) -> Array:
    """Decode the values of an image file as they stand, [H, W] or [H, W, C], upright.

    Parameters
    ----------
    data : bytes
        Content of the file.
    where : str
        Name of the file for error messages.
    channels : int
        How many are wanted, which decides whether a palette's transparency becomes a fourth one.
    """
    values = decode_array(data, where)
    if values is not None:
        return values
    with open_image(data, where) as image:
        load_pixels(image, where)
        turn_upright(image)
        return pillow_bands(image, channels)


def decode_array(data: bytes, where: str) -> Array | None:
    """Decode a NumPy file, or a TIFF file that Pillow does not read without loss; None for other files."""
    if data.startswith(_NPY_MAGIC):
        return _decode_npy(data, where)
    if data.startswith(_TIFF_MAGICS) and _has_many_bands(data):
        return _decode_tiff(data, where)
    return None


def pillow_bands(image: Image.Image, channels: int = 3) -> Array:
    """Return the values of a Pillow image, [H, W] or [H, W, C]; palettes, CMYK and the like become RGB or RGBA."""
    if image.mode in ("L", "RGB", "F") or image.mode.startswith("I"):
        return np.array(image)
    if "transparency" in image.info or image.mode in ("RGBA", "PA", "RGBa"):
        rgba = image.convert("RGBA")
        return np.array(rgba if channels == 4 else rgba.convert("RGB"))
    return np.array(image if image.mode == "LA" else image.convert("L" if image.mode == "1" else "RGB"))


def open_image(data: bytes, where: str) -> ImageFile.ImageFile:
    """Read the header of an image file.

    Raises
    ------
    DatasetError
        When it is not an image, or has more pixels than `max_pixels()`.
    """
    try:
        with _without_pillows_limit():
            image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        what = "is empty" if not data else f"is not an image of a known format ({', '.join(FORMATS)})"
        raise DatasetError(f"{where} {what}: remove or replace the file") from error
    except Exception as error:  # damaged files make the decoders raise almost anything
        raise DatasetError(f"cannot read the image {where}: {_reason(error)}") from error
    check_size(image.width, image.height, where)
    return image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the names in `FORMATS` that the installed Pillow decodes."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def check_size(width: int, height: int, where: str, *, bands: int = 1) -> None:
    """Refuse an image of more pixels than `max_pixels()`, before memory is taken for it; four bands count as one."""
    needed = width * height * max(1, -(-bands // 4))
    if needed > max_pixels():
        of_bands = f" of {bands} bands" if bands > 4 else ""
        raise DatasetError(
            f"the image {where} has {width} × {height} pixels{of_bands}, more than the limit of {max_pixels()}, which "
            f"protects from files that fill the memory: for an image that you trust, set the environment variable "
            f"VITRAIL_MAX_PIXELS={needed}"
        )


def max_pixels() -> int:
    """Return the largest number of pixels of an image: the environment variable VITRAIL_MAX_PIXELS, or 2³⁰."""
    most = env_number("VITRAIL_MAX_PIXELS", MAX_PIXELS)
    if not most:
        raise VitrailError("the environment variable VITRAIL_MAX_PIXELS is '0': set it to a number, or unset it")
    return most


def load_pixels(image: Image.Image, where: str) -> None:
    """Decode the pixels of an opened image in place.

    Raises
    ------
    DatasetError
        When the file is truncated or damaged.
    """
    try:
        image.load()
    except Exception as error:
        raise DatasetError(f"the image {where} is truncated or damaged ({_reason(error)}): replace the file") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}" if not isinstance(error, OSError) else str(error)[:300]


def turn_upright(image: Image.Image) -> None:
    """Apply the orientation in the EXIF data in place."""
    # Damaged EXIF data make Pillow raise almost anything, before or after it turns the pixels, which are not damaged.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Lift Pillow's limit on pixels, which is one for the whole process, while a header is read."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode_npy(data: bytes, where: str) -> Array:
    try:
        version = np.lib.format.read_magic(stream := io.BytesIO(data))
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if len(shape) not in (2, 3):
            raise DatasetError(f"the image {where} has the shape {list(shape)}: it should be [H, W] or [H, W, C]")
        check_size(shape[1], shape[0], where, bands=math.prod(shape[2:]))
        values: Array = np.load(io.BytesIO(data), allow_pickle=False)
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"cannot read the array {where}: {_reason(error)}") from error
    if dtype.kind not in "biuf":
        raise DatasetError(f"the array {where} holds {dtype}: save numbers, [H, W] or [H, W, C]")
    return values


def _has_many_bands(data: bytes) -> bool:
    """Return whether a TIFF file is none of those that Pillow reads without loss."""
    try:
        with _without_pillows_limit(), Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            tags = image.tag_v2
            bits, samples = tags.get(_BITS_PER_SAMPLE, (1,)), tags.get(_SAMPLES_PER_PIXEL, 1)
            return samples > 4 or (samples > 1 and max(bits) > 8) or getattr(image, "n_frames", 1) > 1
    except Exception:
        return True


def _decode_tiff(data: bytes, where: str) -> Array:
    try:
        import tifffile
    except ImportError as error:
        raise DatasetError(
            f"the TIFF file {where} has bands that Pillow does not read: pip install 'vitrail[data]'"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            axes = "".join(axis if axis in "YX" else "C" for axis in series.axes)
            if axes not in ("YX", "YXC", "CYX"):
                raise DatasetError(f"the TIFF file {where} has the axes {series.axes}: it should be one image of bands")
            width, height = (series.shape[axes.index(axis)] for axis in "XY")
            check_size(width, height, where, bands=math.prod(series.shape) // max(width * height, 1))
            values: Array = series.asarray()
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"cannot read the TIFF file {where}: {_reason(error)}") from error
    return np.moveaxis(values, 0, -1) if axes == "CYX" else values
