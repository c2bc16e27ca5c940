"""labelme: one JSON file of polygons and other shapes for each image, beside it or in a folder of their own.

References
----------
github.com/wkentaro/labelme, `labelme/utils/shape.py`, says how each kind of shape is drawn.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import find_class_file
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
from vitrail.datasets.formats.shapes import (
    Bitmap,
    Line,
    Polygon,
    Rectangle,
    as_points,
    check_within,
    circle_through,
    point_at,
)
from vitrail.datasets.image_files import IMAGE_SUFFIXES, open_image
from vitrail.datasets.splits import split_name
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError


@register_dataset("labelme")
def labelme(
    root: Path | None,
    split: str,
    *,
    background: str | None = BACKGROUND,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """Images with the JSON files of labelme, read in place.

    Parameters
    ----------
    root : Path
        The folder; its subfolders train and val, if there are any, are the splits.
    split : str
        "train", "val" or "all".
    background : str or None
        Name of the class of what no shape covers; null ignores it. The label "_background_" stands for it too.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When a file cannot be read, or its image is missing.
    """
    root = wanted_root(root, "labelme")
    files = Folder(root)
    names = files.below("")
    images = {Path(name).stem: name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES}
    splits: dict[str, list[Labelled]] = {}
    for name in names:
        if name.endswith(".json") and is_labelme(root / name):
            splits.setdefault(_split_of(name), []).append(_read(root, name, images, background))
    given = find_class_file(root)
    classes = _named(given.classes if given else (), background)
    return drawn_dataset(
        "labelme", root, splits, split, background=background, classes=classes, val_fraction=val_fraction,
        split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there are no files of labelme."""
    files = [name for name in Folder(root).below("") if name.endswith(".json")]
    if files and is_labelme(root / files[0]):
        return f"{len(files)} JSON files of labelme, such as {files[0]}"
    return None


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of labelme."""
    data = peek_json(path)
    return isinstance(data, dict) and isinstance(data.get("shapes"), list)


def _read(root: Path, name: str, images: dict[str, str], background: str | None) -> Labelled:
    path = root / name
    data = read_json(path)
    with as_described(path):
        return _labelled(root, name, data, images, background)


def _labelled(root: Path, name: str, data: Any, images: dict[str, str], background: str | None) -> Labelled:
    path = root / name
    beside = (Path(name).parent / Path(str(data.get("imagePath") or "").replace("\\", "/")).name).as_posix()
    image = beside if data.get("imagePath") and (root / beside).is_file() else images.get(path.stem)
    if image is None:
        raise DatasetError(f"{path}: its image {data.get('imagePath') or path.stem!r} is not in {root}: put it beside")
    shapes = tuple(
        (_label(shape["label"], background), shape_of(shape))
        for shape in data["shapes"]
        if background is not None or shape["label"] != "_background_"
    )
    return Labelled(image, name, shapes)


def _label(label: str, background: str | None) -> str:
    return background if label == "_background_" and background is not None else label


def shape_of(shape: dict[str, Any]) -> Shape:
    """Return a shape of a labelme file."""
    points, kind = as_points(shape["points"]), shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return Polygon(points)
    if kind == "rectangle":
        return Rectangle((points[0], points[1]))
    if kind == "circle":
        return circle_through(points[0], points[1])
    if kind in ("line", "linestrip"):
        return Line(points)
    if kind == "point":
        return point_at(points[0])
    if kind == "mask":
        packed = base64.b64decode(shape["mask"])
        return Bitmap(round(points[0][0]), round(points[0][1]), functools.partial(_mask, packed))
    raise ValueError(f"a shape of type {kind!r}")


def _mask(packed: bytes, largest: tuple[int, int]) -> np.ndarray:
    with open_image(packed, "a mask of labelme") as opened:
        check_within((opened.height, opened.width), largest)
        return np.asarray(opened.convert("L"))


def _split_of(name: str) -> str:
    parts = [split_name(part) for part in Path(name).parts[:-1]]
    return next((part for part in parts if part in ("train", "val", "test")), "all")


def _named(classes: Sequence[str], background: str | None) -> list[str]:
    return [name for name in classes if name not in ("__ignore__",) and not (name == "_background_" and background)]
