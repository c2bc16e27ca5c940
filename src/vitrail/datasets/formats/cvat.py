"""CVAT for images 1.1: annotations.xml with polygons, boxes, ellipses and masks of all images.

References
----------
docs.cvat.ai, "CVAT for image 1.1".
"""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

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
from vitrail.datasets.formats.json_file import as_described
from vitrail.datasets.formats.shapes import Bitmap, Ellipse, Line, Point, Polygon, Rectangle, check_within
from vitrail.datasets.splits import split_name
from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError
from vitrail.visualize.palette import parse_hex_colour

_FILE = "annotations.xml"


@register_dataset("cvat")
def cvat(
    root: Path | None,
    split: str,
    *,
    background: str | None = BACKGROUND,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """Images with CVAT's annotations.xml ("CVAT for images 1.1"), read in place.

    Parameters
    ----------
    root : Path
        The folder with annotations.xml and the images, in images/ or beside it.
    split : str
        Such as "train": CVAT's subsets where it has a Train, and a random split otherwise.
    background : str or None
        Name of the class of what no shape covers; null ignores it.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When the file cannot be read, or an image is missing.
    """
    root = wanted_root(root, "cvat")
    path = root / _FILE
    tree = _parse(path)
    splits: dict[str, list[Labelled]] = {}
    with as_described(path):
        colours = {
            name: parse_hex_colour(label.findtext("color") or "")
            for label in tree.iter("label")
            if (name := (label.findtext("name") or "").strip())
        }
        for image in tree.iter("image"):
            name = split_name((image.get("subset") or "all").lower())
            splits.setdefault(name, []).append(_labelled(root, image))
    return drawn_dataset(
        "cvat", root, splits, split, background=background, classes=list(colours), colours=colours,
        val_fraction=val_fraction, split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no annotations.xml of CVAT."""
    if not (root / _FILE).is_file():
        return None
    try:
        return f"{_FILE} of CVAT with {sum(1 for _ in _parse(root / _FILE).iter('image'))} images"
    except DatasetError:
        return None


def _parse(path: Path) -> ET.Element:
    try:
        text = read_text(path)
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DatasetError(f"{path} defines entities, which annotations do not need: export it anew")
        return ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def _labelled(root: Path, image: ET.Element) -> Labelled:
    name = image.attrib["name"].replace("\\", "/")
    subset = image.get("subset") or ""
    file = next((each for each in (f"images/{name}", name, f"images/{subset}/{name}") if (root / each).is_file()), None)
    if file is None:
        raise DatasetError(f"the image {name} of {root / _FILE} is neither in {root / 'images'} nor beside the file")
    ordered = sorted(
        (element for element in image if element.get("label")), key=lambda element: int(element.get("z_order") or 0)
    )
    shapes = tuple((element.attrib["label"], shape) for element in ordered if (shape := _shape(element)) is not None)
    return Labelled(file, _FILE, shapes)


def _shape(element: ET.Element) -> Shape | None:
    """Return the shape of an element; points and image tags cover nothing."""
    at = element.attrib
    if element.tag == "polygon":
        return Polygon(_points(at["points"]))
    if element.tag == "polyline":
        return Line(_points(at["points"]))
    if element.tag == "box":
        return Rectangle(((float(at["xtl"]), float(at["ytl"])), (float(at["xbr"]), float(at["ybr"]))))
    if element.tag == "ellipse":
        return Ellipse((float(at["cx"]), float(at["cy"])), (float(at["rx"]), float(at["ry"])))
    if element.tag == "mask":
        counts = [int(count) for count in at["rle"].split(",")]
        height, width = int(at["height"]), int(at["width"])
        if sum(counts) != height * width or min(counts) < 0:
            raise ValueError(f"run lengths of a mask are not those of {height} × {width} pixels")
        return Bitmap(int(at["left"]), int(at["top"]), functools.partial(_mask, counts, (height, width)))
    return None


def _mask(counts: Sequence[int], size: tuple[int, int], largest: tuple[int, int]) -> np.ndarray:
    check_within(size, largest)
    return np.repeat(np.arange(len(counts), dtype=np.uint8) % 2, counts).reshape(size)


def _points(text: str) -> tuple[Point, ...]:
    pairs = [pair.split(",") for pair in text.split(";") if pair]
    return tuple((float(x), float(y)) for x, y in pairs)
