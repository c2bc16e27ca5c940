"""Checks of COCO's regions before pycocotools gets them: its C code trusts every number that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.errors import DatasetError

_FARTHEST = 8  # sizes of the image that a corner may lie outside of it
_LONGEST = 1 << 22  # pixels of an outline
_LARGEST_SIDE = 1 << 16
_LONGEST_NUMBER = 7  # characters of a run length

Numbers = npt.NDArray[Any]


def check_polygons(polygons: list[Any], height: int, width: int) -> None:
    """Refuse polygons that are no lists of numbers, or lie far outside of an image of this size.

    Raises
    ------
    DatasetError
        For these.
    """
    _check_size([height, width])
    length = 0.0
    for polygon in polygons:
        points = _numbers(polygon)
        if len(points) % 2 or np.abs(points).max(initial=0) > _FARTHEST * max(height, width):
            raise DatasetError("a polygon of COCO has half a point, or one far outside of its image")
        corners = points.reshape(-1, 2)
        length += float(np.abs(corners - np.roll(corners, 1, 0)).max(1).sum())
    if length > _LONGEST:
        raise DatasetError(f"a polygon of COCO has an outline of {length:.0f} pixels, more than any object")


def check_run_lengths(size: Any, counts: Any) -> None:
    """Refuse run lengths, plain or compressed, that are not those of all pixels of an image of this size.

    Raises
    ------
    DatasetError
        For these.
    """
    _check_size(size)
    runs = _numbers(counts) if isinstance(counts, list) else _expanded(counts)
    if (runs < 0).any() or (runs != np.floor(runs)).any() or runs.sum() != size[0] * size[1]:
        raise DatasetError(f"run lengths of COCO are not those of {size[0]} × {size[1]} pixels")


def _check_size(size: Any) -> None:
    if not all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in size):
        raise DatasetError(f"{str(list(size))[:100]} is no size of an image in COCO")


def _numbers(values: Any) -> Numbers:
    """Return a list of finite numbers."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise DatasetError("a region of COCO is no list of numbers")
    try:
        numbers = np.array(values, np.float64)
    except OverflowError as error:
        raise DatasetError("a region of COCO has a number beyond all images") from error
    if not np.isfinite(numbers).all():
        raise DatasetError("a region of COCO has a number that is not finite")
    return numbers


def _expanded(text: Any) -> Numbers:
    """Return compressed run lengths as numbers; see `rleFrString` of pycocotools.

    Each is written in digits to the base 32, the lowest first, in characters from "0" on, of which 32 more says that
    another digit follows; the highest bit of the last digit is the sign. From the fourth number on they are differences
    from the one before the last.
    """
    data = text.encode("latin1", "replace") if isinstance(text, str) else text
    if not isinstance(data, bytes) or not data:
        raise DatasetError("run lengths of COCO are no text")
    letters = np.frombuffer(data, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(letters & 32 == 0)
    if letters.min() < 0 or letters.max() > 63 or not len(ends) or ends[-1] != len(letters) - 1:
        raise DatasetError("run lengths of COCO are damaged")
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = ends - starts + 1
    if digits.max() > _LONGEST_NUMBER:
        raise DatasetError("run lengths of COCO have a number beyond all images")
    places = np.arange(len(letters)) - np.repeat(starts, digits)
    values = np.add.reduceat((letters & 31) << 5 * places, starts)
    values -= np.where(letters[ends] & 16, 1 << 5 * digits, 0)
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values
