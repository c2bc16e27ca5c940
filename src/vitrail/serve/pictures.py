"""Pictures from clients: decoded within limits."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from vitrail.datasets.image_files import decode_image, open_image
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.errors import DatasetError

# Formats of cameras and of the web. TIFF and JPEG 2000 are left out: their decoders are the largest, and the number of
# pixels that a TIFF file of many bands unpacks to is not known from its header.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")
NAME = "the picture"  # in messages: a client's name for it is not repeated


def picture_pixels(data: bytes, max_pixels: int) -> int:
    """Return the number of pixels of a picture from its header.

    Raises
    ------
    DatasetError
        When it is not a picture of one of `FORMATS`, or has more than `max_pixels` pixels.
    """
    with open_image(data, NAME) as image:
        return _checked(image, max_pixels)


def decode_picture(data: bytes, wanted: PixelFormat) -> Tensor:
    """Return a picture that `picture_pixels` has accepted as uint8 [3, H, W], turned upright.

    Raises
    ------
    DatasetError
        When it is truncated or damaged.
    """
    return decode_image(data, NAME, wanted).as_subclass(Tensor)


def _checked(image: Image.Image, max_pixels: int) -> int:
    if image.format not in FORMATS:
        raise DatasetError(f"{NAME} is a file of the format {image.format}: send one of {', '.join(FORMATS)}")
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise TooManyPixelsError(
            f"{NAME} has {image.width} × {image.height} pixels, more than this service takes ({max_pixels:,}): "
            "send a smaller one"
        )
    return pixels


class TooManyPixelsError(DatasetError):
    """A picture that is larger than the service takes."""
