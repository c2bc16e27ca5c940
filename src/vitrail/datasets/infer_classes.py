"""Infer the classes of masks from the values that occur in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from vitrail.datasets.class_file import ClassFile
from vitrail.datasets.edge_greys import EdgeGreys
from vitrail.datasets.mask_encoding import MaskLook
from vitrail.datasets.mask_files import decode_values
from vitrail.datasets.storage import Files
from vitrail.datasets.warn_once import warn_once
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE

_LISTED = 20
_MOST = 255  # values that are taken for classes without having been named


def infer_classes(files: Files, masks: Sequence[str]) -> ClassFile:
    """Scan masks for their values and make each one a class.

    255 marks ignored pixels, unless the masks hold nothing but 0 and 255: those are two classes.

    Parameters
    ----------
    files : Files
        Storage of the masks.
    masks : sequence of str
        All masks of the dataset, so that every split gets the same classes.

    Raises
    ------
    DatasetError
        When the masks hold too many values to be classes, or black and white with greys between them.
    """
    found: set[int] = set()
    edges = EdgeGreys()
    for name in tqdm(masks, desc="infer classes from masks", unit="mask", disable=None, leave=False):
        decoded = decode_values(files.read(name), files.locate(name))
        found.update(np.unique(decoded).tolist())
        edges.add(decoded, files.locate(name))
        if len(found) > _MOST:
            raise DatasetError(
                f"the masks up to {files.locate(name)} hold {len(found)} different values, too many to be classes: "
                "are they masks? If they are, write one class name per line into classes.txt"
            )
    if {0, IGNORE} < found and edges.found():
        raise DatasetError(edges.message())
    values = (0, IGNORE) if found == {0, IGNORE} else tuple(sorted(found - {IGNORE}))
    if not values:
        raise DatasetError(f"all masks, such as {files.locate(masks[0])}, hold nothing but 255, which is ignored")
    classes = ClassFile(classes=tuple(f"class {value}" for value in values), values=values)
    listed = ", ".join(map(str, values[:_LISTED])) + (", …" if len(values) > _LISTED else "")
    root = files.locate("").rstrip(":/")
    warn_once(
        f"{root} has neither classes.yaml nor classes.txt: {len(values)} classes were inferred "
        f"from the values {listed} in {len(masks)} masks. {_naming(values)}, to name them and to skip this scan."
    )
    return classes


def _naming(values: Sequence[int]) -> str:
    """Return how to name classes of these values."""
    if tuple(values) == tuple(range(len(values))):
        return "Write one class name per line into classes.txt"
    names = ", ".join(f"class {value}" for value in values[:_LISTED])
    more = ", …" if len(values) > _LISTED else ""
    listed = ", ".join(map(str, values[:_LISTED]))
    return f"Write two lines into classes.yaml, 'classes: [{names}{more}]' and 'values: [{listed}{more}]'"


def colours_wanted(looks: Sequence[MaskLook], files: Files, mask: str, given: ClassFile | None) -> DatasetError:
    """Return the error for coloured masks without a palette, with the lines to write."""
    colours = sorted({colour for look in looks for colour in look.colours})
    shown = ", ".join(str(list(colour)) for colour in colours[:_LISTED]) + (", …" if len(colours) > _LISTED else "")
    names = ", ".join(given.classes if given else (f"class {number}" for number, _ in enumerate(colours[:_LISTED])))
    where = files.locate(mask)
    if len(colours) > _MOST:
        return DatasetError(
            f"the masks, such as {where}, hold {len(colours)} colours, too many to be classes: are they masks?"
        )
    missing = "and classes.txt does not say which" if given else "but there is no classes.yaml that says which"
    return DatasetError(
        f"the masks, such as {where}, are coloured, {missing} colour is which class. They have the colours "
        f"{shown}. Write two lines into classes.yaml, 'classes: [{names}]' and 'palette: [{shown}]', in the same order"
    )
