"""What can be repaired in masks, and the lines of classes.yaml by which masks of other values can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.datasets.edge_greys import EdgeGreys
from vitrail.datasets.image_files import load_pixels, open_image, turn_upright
from vitrail.datasets.mask_encoding import sampled
from vitrail.datasets.mask_files import ColourMasks, IndexMasks, MaskReader, decode_colours, decode_values, is_lossy
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE

Array = npt.NDArray[Any]

APART = 16  # values of classes that are nearer to each other cannot be told apart after lossy compression
_LISTED = 20
_MOST = 0.99  # of the pixels of a grey image are grey after lossy compression
_GREY = 48  # channels of a grey image differ by less after lossy compression


def grey_values(data: bytes, where: str) -> Array:
    """Return the greys of a mask of any format, or the values of a palette image, [H, W].

    Raises
    ------
    DatasetError
        When it cannot be read.
    """
    with open_image(data, where) as image:
        load_pixels(image, where)
        turn_upright(image)
        return np.asarray(image if image.mode == "P" else image.convert("L"))


def black_and_white(files: Files, masks: Sequence[str]) -> bool:
    """Return whether a sample of the masks is black and white with greys on the edges, as smoothing leaves them."""
    edges, found, lossy = EdgeGreys(), set[int](), False
    for name in sampled(masks):
        with contextlib.suppress(DatasetError):
            data = files.read(name)
            if is_lossy(data):
                lossy = True
                if not _is_grey(data, name):
                    return False
            values = grey_values(data, name) if is_lossy(data) else decode_values(data, name)
            edges.add(values, name)
            found.update(np.unique(values).tolist())
    return found >= {0, IGNORE} and (edges.found(lossy=lossy) or (lossy and not edges.grey))


def repairable(files: Files, masks: Sequence[str], reader: MaskReader | None) -> bool:
    """Return whether `vitrail dataset check --fix` can tell the classes of masks whose values were changed.

    One value or colour that is no class, in lossless files, is no sign of that.
    """
    if not _changed(files, masks, reader):
        return False
    if isinstance(reader, ColourMasks):
        return True
    values = sorted(reader.labels) if isinstance(reader, IndexMasks) else []
    if len(values) > 1 and int(np.diff(values).min()) >= APART:
        return True
    return isinstance(reader, IndexMasks) and _classes(reader) == 2 and black_and_white(files, masks)


def _changed(files: Files, masks: Sequence[str], reader: MaskReader | None) -> bool:
    unknown = set[int]()
    for name in sampled(masks):
        with contextlib.suppress(DatasetError):
            data = files.read(name)
            if is_lossy(data):
                return True
            if isinstance(reader, ColourMasks):
                colours = {red << 16 | green << 8 | blue for red, green, blue in reader.colours}
                unknown |= set(np.unique(decode_colours(data, name)).tolist()) - colours
            elif isinstance(reader, IndexMasks):
                unknown |= set(np.unique(decode_values(data, name)).tolist()) - set(reader.labels)
    return len(unknown) > 1


def other_values(files: Files, masks: Sequence[str], reader: MaskReader | None) -> str:
    """Return the lines of classes.yaml by which masks of other values than 0, 1, 2, … are read; empty for no advice."""
    if not isinstance(reader, IndexMasks):
        return ""
    count = _classes(reader)
    if {value for value, label in reader.labels.items() if label < count} != set(range(count)) or count < 2:
        return ""  # the user has said which values they are
    found = sorted(_values(files, masks) - {IGNORE})
    counted = list(range(1, count + 1))
    if found == counted:
        return f"The values count from 1: {_line(counted)}"
    if found == [0, *counted]:
        return (
            f"There is one value more than the {count} names: if the first name is that of 1, and 0 is not labelled, "
            f"{_line(counted)} and 'ignore: [0]'. If 0 is a class, name it first"
        )
    if len(found) == count:
        return f"There are as many values as names: if they are in the same order, {_line(found)}"
    return ""


def _line(values: Sequence[int]) -> str:
    return f"write 'values: {list(values)}' into classes.yaml, beside its 'classes'"


def _classes(reader: IndexMasks) -> int:
    return max((label for label in reader.labels.values() if label != IGNORE), default=-1) + 1


def _values(files: Files, masks: Sequence[str]) -> set[int]:
    found = set[int]()
    for name in sampled(masks):
        with contextlib.suppress(DatasetError):
            found.update(np.unique(decode_values(files.read(name), name)).tolist())
    return found


def _is_grey(data: bytes, where: str) -> bool:
    with open_image(data, where) as image:
        load_pixels(image, where)
        colours = np.asarray(image.convert("RGB")).astype(np.int16)
    return float((np.ptp(colours, axis=-1) < _GREY).mean()) > _MOST
