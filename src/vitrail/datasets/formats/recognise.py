"""Recognising the format of a folder by what is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitrail.datasets.formats import (
    coco,
    cvat,
    hugging_face,
    label_studio,
    labelme,
    lightly,
    parquet,
    roboflow,
    supervisely,
    webdataset,
    yolo,
)

RECOGNISERS: tuple[tuple[str, Callable[[Path], str | None]], ...] = (
    ("supervisely", supervisely.recognise),
    ("cvat", cvat.recognise),
    ("roboflow", roboflow.recognise),
    ("labelme", labelme.recognise),
    ("coco", coco.recognise),
    ("label_studio", label_studio.recognise),
    ("yolo", yolo.recognise),
    ("lightly", lightly.recognise),
    ("hugging_face", hugging_face.recognise),
    ("parquet", parquet.recognise),
    ("webdataset", webdataset.recognise),
)
"""The formats in the order in which they are tried."""


@dataclass(frozen=True)
class Recognised:
    """A format that was found.

    Attributes
    ----------
    dataset : str
        The name of the dataset that reads it.
    found : str
        What was found.
    """

    dataset: str
    found: str


def recognise_format(root: Path) -> Recognised | None:
    """Return the format of a folder, or None when it is none of those of other programs."""
    if hugging_face.hub_address(root) is not None:
        return Recognised("hugging_face", "a dataset on the Hugging Face hub")
    if not root.is_dir():
        return None
    for name, recognise in RECOGNISERS:
        found = recognise(root)
        if found is not None:
            return Recognised(name, found)
    return None
