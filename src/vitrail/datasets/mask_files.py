"""Read mask files as class indices and check every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.image_files import decode_array, load_pixels, open_image, turn_upright
from vitrail.datasets.matlab import MATLAB_HEADER, read_matlab
from vitrail.errors import DatasetError
from vitrail.files.regular import read_regular
from vitrail.labels import IGNORE, MAX_CLASSES, WIDE_IGNORE, WIDE_IGNORE_IN_FILES, ignore_index, is_wide

# What errors say of masks that `vitrail dataset check --fix` can repair.
NO_CLASS = "which is no class"
LOSSY = "whose compression changes values"

Array = npt.NDArray[Any]
_UNKNOWN = 254  # a value that is no class, while an 8-bit mask of fewer classes is read
_PNG_HEADER = slice(24, 26)  # bits of a sample, and the kind of colour
_BITS_PER_SAMPLE = 258  # tag of TIFF
_WIDE_UNKNOWN = -2  # the same where there are more


@dataclass(frozen=True)
class _Encoding:
    """How class indices and values that are no class are kept while a mask is read.

    Attributes
    ----------
    wide : bool
        Whether that takes 16 bits.
    narrow_result : bool
        Whether the mask is uint8 in the end.
    """

    wide: bool
    narrow_result: bool

    @classmethod
    def of(cls, num_classes: int) -> _Encoding:
        """Return the encoding of masks of so many classes."""
        return cls(wide=num_classes > _UNKNOWN, narrow_result=not is_wide(num_classes))

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """Of the indices while they are checked."""
        return np.int16 if self.wide else np.uint8

    @property
    def unknown(self) -> int:
        """The index of values that are no class."""
        return _WIDE_UNKNOWN if self.wide else _UNKNOWN

    def mask(self, indices: Array) -> tv_tensors.Mask:
        """Return checked indices as a mask of the type that suits the number of classes."""
        if self.narrow_result and self.wide:
            indices = indices.astype(np.uint8)
        return tv_tensors.Mask(torch.from_numpy(indices))


class MaskReader(Protocol):
    """Converts the content of a mask file to class indices."""

    def __call__(self, data: bytes, where: str) -> tv_tensors.Mask:
        """Return uint8 or int16 [H, W], see `vitrail.labels`; `where` names the file in errors."""


def read_mask(path: str | Path) -> tv_tensors.Mask:
    """Read an index mask: a grey, palette or two-colour image whose values are class indices.

    Parameters
    ----------
    path : str or Path
        An image file with lossless compression, such as PNG.

    Returns
    -------
    tv_tensors.Mask
        [H, W], the values in the file: uint8, or int16 where some are larger than 255, with -1 (ignored) for 65535.

    Raises
    ------
    DatasetError
        When the file is missing, truncated, not a mask, or holds values that are no class indices.
    """
    values = decode_values(read_regular(path, DatasetError, what="the mask "), str(path))
    if values.dtype != np.uint8:
        values = _narrowest(values, str(path))
    return tv_tensors.Mask(torch.from_numpy(np.array(values)))


def decode_values(data: bytes, where: str) -> Array:
    """Decode an index mask: a losslessly compressed image, or a MATLAB file.

    Returns
    -------
    ndarray
        [H, W], uint8 or a wider integer type.
    """
    if data.startswith(MATLAB_HEADER):
        return read_matlab(data, where)
    values = decode_array(data, where)
    if values is not None:
        return _whole_numbers(_one_band(values, where), where)
    image = _open_mask(data, where)
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = np.moveaxis(np.asarray(image)[..., :3], -1, 0)
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            raise DatasetError(
                f"the mask {where} is coloured, but class indices are expected. "
                "If colours stand for classes, use the dataset 'folder', list them as 'palette' in classes.yaml, and "
                "set data.options.coloured=true"
            )
        return red
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode == "F":
        return _whole_numbers(np.asarray(image), where)
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise DatasetError(
            f"the mask {where} is an image of mode {image.mode}: save it as an 8-bit grey or palette PNG"
        )
    return stored_values(image, data)


def _one_band(values: Array, where: str) -> Array:
    """Return an array as [H, W]."""
    plane = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if plane.ndim != 2 or not plane.size:
        raise DatasetError(f"the mask {where} has the shape {list(values.shape)}: class indices are one band, [H, W]")
    return plane


def _whole_numbers(values: Array, where: str) -> Array:
    """Return the values of a mask as integers; programs for maps write them as floating-point numbers."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind != "f" and values.itemsize < 4:
        return values
    wrong = values[~(values == np.rint(values)) | (np.abs(values) > 1 << 16)]
    if wrong.size:
        raise DatasetError(
            f"the mask {where} holds the value {wrong[0]:g}: class indices are whole numbers, and 255 is ignored. "
            "Save it as an 8-bit grey or palette PNG"
        )
    return values.astype(np.int32)


def stored_values(image: Image.Image, data: bytes) -> Array:
    """Return the values of a grey or palette image as its file `data` stores them.

    Pillow spreads greys of 2 and 4 bits over 0…255, as a picture needs it: there the class 1 would be 85 or 17.
    """
    values = np.asarray(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if image.mode != "L":
        return values
    step = {2: 85, 4: 17}.get(_bits_of_grey(image, data), 1)
    return values if step == 1 else values // np.uint8(step)


def _bits_of_grey(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":
        bits, kind = data[_PNG_HEADER]
        return bits if kind == 0 else 8  # 0 is grey without transparency
    if image.format == "TIFF":
        return int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))[0])
    return 8


def decode_colours(data: bytes, where: str) -> Array:
    """Decode a coloured mask.

    Returns
    -------
    ndarray
        [H, W] int32, 65536·red + 256·green + blue.
    """
    rgb = np.asarray(_open_mask(data, where).convert("RGB")).astype(np.int32)
    return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


class IndexMasks:
    """Reads masks whose values encode classes.

    Parameters
    ----------
    labels : mapping from int to int
        Raw value to class index or the ignored label; all other values are errors.
    num_classes : int
        K, which decides the type of the masks; see `vitrail.labels`.
    """

    def __init__(self, labels: Mapping[int, int], num_classes: int) -> None:
        self.labels = dict(labels)
        self.encoding = _Encoding.of(num_classes)
        self.table = b"" if self.encoding.wide else bytes(self.labels.get(value, _UNKNOWN) for value in range(256))

    def __call__(self, data: bytes, where: str) -> tv_tensors.Mask:
        """Return the class indices, uint8 or int16 [H, W]."""
        values = decode_values(data, where)
        indices: Array
        if values.dtype == np.uint8 and not self.encoding.wide:
            # bytes.translate beats numpy's indexing more than twofold
            indices = np.frombuffer(bytearray(values.tobytes().translate(self.table)), np.uint8).reshape(values.shape)
        else:
            indices = self._looked_up(values)
        unknown = indices == self.encoding.unknown
        if unknown.any():
            value = values[unknown][0]
            raise DatasetError(
                f"the mask {where} holds the value {value}, {NO_CLASS}: "
                f"the known values are {_ranges(self.labels)}. Correct the mask, or describe the value as ignored"
            )
        return self.encoding.mask(indices)

    def _looked_up(self, values: Array) -> Array:
        found, inverse = np.unique(values, return_inverse=True)
        unknown = self.encoding.unknown
        indices = np.array([self.labels.get(int(value), unknown) for value in found], self.encoding.dtype)
        return indices[inverse].reshape(values.shape)


class ColourMasks:
    """Reads masks whose colours encode classes.

    Parameters
    ----------
    colours : mapping from (int, int, int) to int
        RGB colour to class index or the ignored label; all other colours are errors.
    num_classes : int
        K, which decides the type of the masks; see `vitrail.labels`.
    others : int or None
        What other colours stand for; None: they are errors.
    """

    def __init__(
        self, colours: Mapping[tuple[int, int, int], int], num_classes: int, others: int | None = None
    ) -> None:
        self.colours = dict(colours)
        self.encoding = _Encoding.of(num_classes)
        self.others = self.encoding.unknown if others is None else others

    def __call__(self, data: bytes, where: str) -> tv_tensors.Mask:
        """Return the class indices, uint8 or int16 [H, W]."""
        codes = decode_colours(data, where)
        indices = self._table[codes]
        unknown = indices == self.encoding.unknown
        if unknown.any():
            code = int(codes[unknown][0])
            colour = (code >> 16, code >> 8 & 255, code & 255)
            raise DatasetError(
                f"the mask {where} holds the colour {colour}, {NO_CLASS}: add it to classes.yaml, to "
                "'palette' with a name in 'classes', or to 'ignore'"
            )
        return self.encoding.mask(indices)

    @cached_property
    def _table(self) -> Array:
        table = np.full(1 << 24, self.others, self.encoding.dtype)
        for (red, green, blue), index in self.colours.items():
            table[red << 16 | green << 8 | blue] = index
        return table


def mask_reader(benchmark: Benchmark) -> MaskReader:
    """Return the reader for a benchmark's masks."""
    count = len(benchmark.classes)
    if benchmark.colours is not None:
        return ColourMasks(benchmark.colours, count, benchmark.other_colours)
    if benchmark.labels is not None:
        return IndexMasks(benchmark.labels, count)
    ignored = WIDE_IGNORE_IN_FILES if is_wide(count) else IGNORE
    return IndexMasks({**{index: index for index in range(count)}, ignored: ignore_index(count)}, count)


def _narrowest(values: Array, where: str) -> Array:
    """Return values of more than 8 bits as uint8, or as int16 with -1 for 65535 where some are larger than 255."""
    if values.min() >= 0 and values.max() <= IGNORE:
        return values.astype(np.uint8)
    wide = np.where(values == WIDE_IGNORE_IN_FILES, WIDE_IGNORE, values.astype(np.int64))
    wrong = wide[(wide < WIDE_IGNORE) | (wide >= MAX_CLASSES)]
    if wrong.size:
        raise DatasetError(f"the mask {where} holds the value {wrong[0]}: class indices end at {MAX_CLASSES - 1}")
    return wide.astype(np.int16)


def _open_mask(data: bytes, where: str) -> Image.Image:
    image = open_image(data, where)
    if is_lossy(data):
        kind = "JPEG" if image.format == "JPEG" else "lossy WebP"
        raise DatasetError(f"the mask {where} is a {kind}, {LOSSY}: save masks as PNG")
    load_pixels(image, where)
    turn_upright(image)
    return image


def is_lossy(data: bytes) -> bool:
    """Return whether an image file is a JPEG or a lossy WebP, by its first bytes."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return data[12:16] != b"VP8L" and not _has_lossless_chunk(data)
    return data.startswith(b"\xff\xd8\xff")


def _has_lossless_chunk(data: bytes) -> bool:
    return data[12:16] == b"VP8X" and b"VP8L" in data[30:4096]


def _ranges(labels: Mapping[int, int]) -> str:
    """Return the known values in short form: "0–10, 255"."""
    runs: list[list[int]] = []
    for value in sorted(labels):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)
