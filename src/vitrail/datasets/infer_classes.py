"""Infer the classes of masks from the values that occur in them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from vitrail.datasets.benchmark import MAX_CLASSES
from vitrail.datasets.class_file import ClassFile
from vitrail.datasets.image_files import open_image
from vitrail.datasets.mask_files import decode_colours, decode_values
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE

logger = logging.getLogger(__name__)
_LISTED = 20


def is_coloured(files: Files, mask: str) -> bool:
    """Return whether a mask file is an RGB image whose channels differ, rather than an image of class values."""
    data, where = files.read(mask), files.locate(mask)
    if open_image(data, where).mode not in ("RGB", "RGBA"):
        return False
    codes = np.unique(decode_colours(data, where))
    return bool(((codes >> 16 != (codes >> 8 & 255)) | (codes >> 16 != (codes & 255))).any())


def infer_classes(files: Files, masks: Sequence[str], coloured: bool) -> ClassFile:
    """Scan masks for their values and make each one a class.

    255 marks ignored pixels, unless the masks hold nothing but 0 and 255: those are two classes.

    Parameters
    ----------
    files : Files
        Storage of the masks.
    masks : sequence of str
        All masks of the dataset, so that every split gets the same classes.
    coloured : bool
        Whether colours encode the classes, which cannot be inferred.

    Raises
    ------
    DatasetError
        When the masks are coloured, or hold too many values to be classes.
    """
    if coloured:
        raise DatasetError(_colours_wanted(files, masks[0]))
    found: set[int] = set()
    for name in tqdm(masks, desc="infer classes from masks", unit="mask", disable=None, leave=False):
        found.update(np.unique(decode_values(files.read(name), files.locate(name))).tolist())
        if len(found) > MAX_CLASSES + 1:
            raise DatasetError(
                f"the masks up to {files.locate(name)} hold {len(found)} different values, too many to be classes: "
                "are they masks?"
            )
    values = (0, IGNORE) if found == {0, IGNORE} else tuple(sorted(found - {IGNORE}))
    if not values:
        raise DatasetError(f"all masks, such as {files.locate(masks[0])}, hold nothing but 255, which is ignored")
    classes = ClassFile(classes=tuple(f"class {value}" for value in values), values=values)
    listed = ", ".join(map(str, values[:_LISTED])) + (", …" if len(values) > _LISTED else "")
    _warn_once(
        f"There is neither {files.locate('classes.yaml')} nor classes.txt: {len(values)} classes were inferred from "
        f"the values {listed} in {len(masks)} masks. Write one class name per line into classes.txt to name them and "
        "to skip this scan."
    )
    return classes


@functools.cache
def _warn_once(message: str) -> None:
    """Warn for the first split that is opened, and not again for the others."""
    logger.warning(message)


def _colours_wanted(files: Files, mask: str) -> str:
    codes, counts = np.unique(decode_colours(files.read(mask), files.locate(mask)), return_counts=True)
    common = codes[np.argsort(-counts)][:_LISTED]
    listed = ", ".join(f"[{code >> 16}, {code >> 8 & 255}, {code & 255}]" for code in common.tolist())
    return (
        f"the masks are coloured, but there is no classes.yaml that says which colour is which class. "
        f"Write one with the keys 'classes', a list of names, and 'palette', a list of colours. "
        f"{files.locate(mask)} has the colours {listed}"
    )
