"""Read image files of all common formats as 8-bit RGB.

Pillow decodes all of them. torchvision's own decoders are somewhat faster (PNG by a seventh, JPEG by a third), but they
are deprecated since torchvision 0.29, and a PNG with a flipped bit makes them end the process.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torchvision import tv_tensors

from vitrail.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".jp2")


def read_image(path: str | Path) -> tv_tensors.Image:
    """Read an image file as 8-bit RGB.

    Grey, palette, CMYK and 16-bit images are converted (of 16 bits the upper eight are kept), an alpha channel is
    dropped, and the orientation in the EXIF data is applied.

    Parameters
    ----------
    path : str or Path
        A file of any format that Pillow reads.

    Returns
    -------
    tv_tensors.Image
        uint8 [3, H, W].

    Raises
    ------
    DatasetError
        When the file is missing, truncated, or not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read the image {path}: {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, where: str) -> tv_tensors.Image:
    """Decode the content of an image file; see `read_image`.

    Parameters
    ----------
    data : bytes
        Content of the file.
    where : str
        Name of the file for error messages.
    """
    image = open_image(data, where)
    load_pixels(image, where)
    _turn_upright(image)
    pixels = np.array(_to_rgb(image, where))
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))


def open_image(data: bytes, where: str) -> ImageFile.ImageFile:
    """Read the header of an image file.

    Raises
    ------
    DatasetError
        When it is not an image.
    """
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        what = "is empty" if not data else "is not an image that Pillow can read"
        raise DatasetError(f"{where} {what}: remove or replace the file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read the image {where}: {error}") from error


def load_pixels(image: Image.Image, where: str) -> None:
    """Decode the pixels of an opened image in place.

    Raises
    ------
    DatasetError
        When the file is truncated or damaged.
    """
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"the image {where} is truncated or damaged ({error}): replace the file") from error


def _turn_upright(image: Image.Image) -> None:
    # Damaged EXIF data make Pillow raise almost anything, before or after it turns the pixels, which are not damaged.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise DatasetError(f"the image {where} has floating-point pixels: save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
