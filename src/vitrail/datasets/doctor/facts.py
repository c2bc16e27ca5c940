"""What is known of one image and its mask after both files were looked at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torchvision import tv_tensors

from vitrail.datasets.image_files import decode_bands, load_pixels, open_image
from vitrail.datasets.matlab import MATLAB_HEADER
from vitrail.datasets.pairs import Pair
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError
from vitrail.labels import ignore_index
from vitrail.visualize import class_counts

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = 1
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_NPY_MAGIC = b"\x93NUMPY"
_TIFF_MAGICS = (b"II", b"MM")


class FileSource(Protocol):
    """A source of images in files, such as `PairedFiles`."""

    files: Files
    pairs: Sequence[Pair]
    pixels: PixelFormat

    def load_mask(self, index: int, size: tuple[int, int]) -> tv_tensors.Mask:
        """Return the mask of an image of the given height and width."""


@dataclass(frozen=True)
class Facts:
    """One image and its mask.

    Attributes
    ----------
    image, mask : str
        The files.
    size : (int, int)
        Height and width of the image, upright.
    image_mode, mask_mode : str
        Pillow's name for the kind of image, or NumPy's for an array.
    image_turned, mask_turned : int
        The orientation in the EXIF data; 1 is upright.
    channels : int
        Of the image; 0 where it was not decoded.
    low, high : float
        Least and largest value of an image of more than 8 bits; 0 and 0 for others.
    deep_colour : bool
        Whether the image is a PNG of 16 bits for each of several channels, of which the upper eight are read.
    image_digest, mask_digest : str
        Hashes of the files.
    table_digest : str
        Hash of the mask's colour table; empty without one.
    alpha_values : int
        Number of different values in the mask's alpha channel; 0 without one.
    counts : tuple of int
        Pixels of each class.
    ignored : int
        Ignored pixels.
    error : str
        Why the pair cannot be used; empty when it can.
    """

    image: str
    mask: str
    size: tuple[int, int] = (0, 0)
    image_mode: str = ""
    mask_mode: str = ""
    image_turned: int = _UPRIGHT
    mask_turned: int = _UPRIGHT
    channels: int = 0
    low: float = 0.0
    high: float = 0.0
    deep_colour: bool = False
    image_digest: str = ""
    mask_digest: str = ""
    table_digest: str = ""
    alpha_values: int = 0
    counts: tuple[int, ...] = ()
    ignored: int = 0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Facts:
        """Rebuild facts from `to_dict()`."""
        return cls(**{**data, "size": tuple(data["size"]), "counts": tuple(data["counts"])})


def gather(source: FileSource, index: int, num_classes: int, *, decode_images: bool) -> Facts:
    """Look at one image and its mask.

    Parameters
    ----------
    source : FileSource
        The files.
    index : int
        Of the pair.
    num_classes : int
        Number of classes.
    decode_images : bool
        Decode the pixels of every image, which finds damaged ones; otherwise those of 8 bits are known by their header.
    """
    pair = source.pairs[index]
    known: dict[str, Any] = {"image": source.files.locate(pair.image), "mask": source.files.locate(pair.mask)}
    try:
        known.update(_image_facts(source, pair, decode=decode_images))
        known.update(_mask_header(source.files.read(pair.mask), known["mask"]))
        mask = source.load_mask(index, known["size"]).numpy()
    except DatasetError as error:
        return Facts(**known, error=str(error))
    counts = tuple(int(count) for count in class_counts(mask, num_classes))
    return Facts(**known, counts=counts, ignored=int((mask == ignore_index(num_classes)).sum()))


def _image_facts(source: FileSource, pair: Pair, *, decode: bool) -> dict[str, Any]:
    data, where = source.files.read(pair.image), source.files.locate(pair.image)
    pixels = source.pixels.halved if pair.second_image else source.pixels
    facts: dict[str, Any] = {"image_digest": _digest(data)}
    if data.startswith((_NPY_MAGIC, *_TIFF_MAGICS)):
        return {**facts, **_values(data, where, pixels)}
    with open_image(data, where) as image:
        turned = _orientation(image, data)
        height, width = (image.width, image.height) if turned in _TURNED else (image.height, image.width)
        facts |= {"size": (height, width), "image_mode": image.mode, "image_turned": turned}
        facts["channels"] = len(image.getbands())
        if image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6):
            facts["deep_colour"] = True
        if image.mode.startswith("I") or image.mode == "F":
            return {**facts, **_values(data, where, pixels)}
        if decode:
            load_pixels(image, where)
    pixels.convert(np.zeros((1, 1, _bands(facts)), np.uint8), where)
    return facts


def _bands(facts: dict[str, Any]) -> int:
    """Return the number of channels that a file of these facts is decoded to."""
    mode = facts["image_mode"]
    return {"1": 1, "L": 1, "LA": 2, "RGBA": 4, "P": 3, "PA": 3}.get(mode, 3)


def _values(data: bytes, where: str, pixels: PixelFormat) -> dict[str, Any]:
    """Return the facts of an image of more than 8 bits, or of many bands, which has to be decoded for them."""
    values = decode_bands(data, where, pixels.channels)
    pixels.convert(values, where)
    deep = values.dtype not in (np.uint8, np.bool_)
    return {
        "size": (values.shape[0], values.shape[1]),
        "image_mode": str(values.dtype) if deep else "L" if values.ndim == 2 else "RGB",
        "channels": 1 if values.ndim == 2 else values.shape[2],
        "low": float(np.nanmin(values)) if deep else 0.0,
        "high": float(np.nanmax(values)) if deep else 0.0,
    }


def _mask_header(data: bytes, where: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"mask_digest": _digest(data)}
    if data.startswith((MATLAB_HEADER, _NPY_MAGIC)) or Path(where).suffix.lower() in (".json", ".xml", ".txt"):
        return facts
    with open_image(data, where) as image:
        facts |= {"mask_mode": image.mode, "mask_turned": _orientation(image, data)}
        if image.mode == "P":
            facts["table_digest"] = _digest(bytes(image.getpalette("RGB") or []))
        if image.mode in ("LA", "RGBA"):
            load_pixels(image, where)
            facts["alpha_values"] = len(np.unique(np.asarray(image.getchannel("A"))))
    return facts


def _orientation(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG" and b"eXIf" not in data and b"exif" not in data:
        return _UPRIGHT  # Pillow would decode the pixels to look for EXIF data behind them
    try:
        found = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # damaged EXIF data make Pillow raise almost anything
        return _UPRIGHT
    return found if isinstance(found, int) and 1 <= found <= 8 else _UPRIGHT


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
