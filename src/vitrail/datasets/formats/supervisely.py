"""Supervisely: meta.json, and for each dataset folders img/ and ann/ with a JSON file of objects for each image.

References
----------
docs.supervisely.com, "Supervisely annotation format": polygons with holes, and bitmaps as compressed PNG in base64.
"""

from __future__ import annotations

import base64
import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.formats.drawn import (
    BACKGROUND,
    DrawnMasks,
    Labelled,
    Shape,
    drawn_dataset,
    wanted_root,
)
from vitrail.datasets.formats.json_file import as_described, peek_json, read_json
from vitrail.datasets.formats.shapes import Bitmap, Line, Polygon, Rectangle, as_points, check_within
from vitrail.datasets.image_files import open_image
from vitrail.datasets.splits import split_name
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError
from vitrail.visualize.palette import parse_hex_colour

_META = "meta.json"
_PIXEL_BYTES = 8  # of a picture that does not shrink, and more
_HEADER_BYTES = 1 << 16


@register_dataset("supervisely")
def supervisely(
    root: Path | None,
    split: str,
    *,
    background: str | None = BACKGROUND,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """A project of Supervisely, read in place.

    Parameters
    ----------
    root : Path
        The folder with meta.json; datasets called train and val are the splits.
    split : str
        Such as "train".
    background : str or None
        Name of the class of what no object covers; null ignores it.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When a file cannot be read, or an image is missing.
    """
    root = wanted_root(root, "supervisely")
    meta = read_json(root / _META)
    splits: dict[str, list[Labelled]] = {}
    for name in Folder(root).below(""):
        path = Path(name)
        if path.parent.name == "ann" and path.suffix == ".json":
            splits.setdefault(split_name(path.parent.parent.name), []).append(_labelled(root, path))
    with as_described(root / _META):
        colours = {each["title"]: parse_hex_colour(each["color"]) for each in meta["classes"]}
    return drawn_dataset(
        "supervisely", root, splits, split, background=background, classes=list(colours), colours=colours,
        val_fraction=val_fraction, split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no meta.json of Supervisely."""
    meta = peek_json(root / _META) if (root / _META).is_file() else None
    if isinstance(meta, dict) and isinstance(meta.get("classes"), list):
        return f"a project of Supervisely with {len(meta['classes'])} classes"
    return None


def _labelled(root: Path, path: Path) -> Labelled:
    image = path.parent.parent / "img" / path.stem
    if not (root / image).is_file():
        raise DatasetError(f"{root / path}: its image {root / image} is missing")
    with as_described(root / path):
        objects = read_json(root / path)["objects"]
        shapes = tuple((each["classTitle"], shape) for each in objects if (shape := _shape(each)) is not None)
    return Labelled(image.as_posix(), path.as_posix(), shapes)


def _shape(each: dict[str, Any]) -> Shape | None:
    """Return the shape of an object; points cover nothing."""
    kind = each["geometryType"]
    if kind == "bitmap":
        left, top = each["bitmap"]["origin"]
        packed = base64.b64decode(each["bitmap"]["data"])
        return Bitmap(int(left), int(top), functools.partial(_bitmap, packed))
    exterior = as_points(each["points"]["exterior"])
    if kind == "polygon":
        return Polygon(exterior, tuple(as_points(hole) for hole in each["points"]["interior"]))
    if kind == "rectangle":
        return Rectangle((exterior[0], exterior[1]))
    if kind == "line":
        return Line(exterior)
    if kind == "point":
        return None
    raise ValueError(f"an object of type {kind!r}")


def _bitmap(packed: bytes, largest: tuple[int, int]) -> np.ndarray:
    unpacked = zlib.decompressobj().decompress(packed, _PIXEL_BYTES * largest[0] * largest[1] + _HEADER_BYTES)
    with open_image(unpacked, "a bitmap of Supervisely") as image:
        check_within((image.height, image.width), largest)
        return np.asarray(image.getchannel("A") if "A" in image.getbands() else image.convert("L"))
