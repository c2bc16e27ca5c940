"""Label Studio: one JSON file with a list of tasks, each with polygons, rectangles, ellipses or brush strokes.

References
----------
labelstud.io/guide/export ("JSON"), and the run-length encoding of brush masks as in
github.com/HumanSignal/label-studio-converter, `brush.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.formats.drawn import BACKGROUND, DrawnMasks, Labelled, Shape, drawn_dataset, wanted_root
from vitrail.datasets.formats.json_file import as_described, peek_json, read_json
from vitrail.datasets.formats.shapes import Ellipse, Mask, Rectangle, RelativePolygon, as_points
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError

_SHAPES = ("points", "rle", "radiusX", "width")
_LABELS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels", "labels")


@dataclass(frozen=True, eq=False)
class Brush:
    """A mask of brush strokes, run-length encoded as RGBA, of which the alpha channel counts."""

    rle: tuple[int, ...]
    height: int
    width: int

    def fill(self, mask: Mask, value: int) -> None:
        """Set what was painted."""
        if mask.shape != (self.height, self.width):
            raise DatasetError(
                f"brush strokes of Label Studio are made for {self.height} × {self.width} pixels, but the image has "
                f"{mask.shape[0]} × {mask.shape[1]}"
            )
        values = 4 * self.height * self.width
        alpha = decode_brush(self.rle, values).reshape(self.height, self.width, 4)[..., 3]
        mask[alpha > 127] = value


@dataclass(frozen=True)
class RelativeBox:
    """A rectangle, or the ellipse in it, in fractions of the image's width and height."""

    left: float
    top: float
    right: float
    bottom: float
    ellipse: bool = False

    def fill(self, mask: Mask, value: int) -> None:
        """Set what lies inside."""
        height, width = mask.shape
        left, top, right, bottom = self.left * width, self.top * height, self.right * width, self.bottom * height
        if self.ellipse:
            Ellipse(((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)).fill(
                mask, value
            )
        else:
            Rectangle(((left, top), (right, bottom))).fill(mask, value)


@register_dataset("label_studio")
def label_studio(
    root: Path | None,
    split: str,
    *,
    file: str = "",
    background: str | None = BACKGROUND,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """Images with Label Studio's export JSON or JSON-MIN, read in place.

    Parameters
    ----------
    root : Path
        The folder with the JSON file and, anywhere below it, the images.
    split : str
        "train", "val" or "all"; the split is random.
    file : str
        Name of the JSON file; empty takes the one that there is.
    background : str or None
        Name of the class of what nothing covers; null ignores it.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When the file cannot be read, or an image is missing.
    """
    root = wanted_root(root, "label_studio")
    path = root / file if file else _export(root)
    if path is None:
        raise DatasetError(f"{root} holds no JSON export of Label Studio: name it with data.options.file")
    below = [name for name in Folder(root).below("") if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    by_name = {Path(name).name: name for name in below}
    with as_described(path):
        items = [_labelled(path, task, by_name) for task in read_json(path)]
    return drawn_dataset(
        "label_studio", root, {"all": items}, split, background=background, val_fraction=val_fraction,
        split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no export of Label Studio."""
    path = _export(root)
    return f"the export {path.name} of Label Studio" if path is not None else None


def _export(root: Path) -> Path | None:
    return next((path for path in sorted(root.glob("*.json")) if _is_export(peek_json(path))), None)


def _is_export(data: Any) -> bool:
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, dict):
        return False
    return ("data" in first and ("annotations" in first or "completions" in first)) or any(map(_minimal, data))


def _minimal(task: Any) -> list[dict[str, Any]]:
    """Return the regions of a task of the export JSON-MIN, which names image and regions in one object."""
    lists = [value for value in task.values() if isinstance(value, list)] if isinstance(task, dict) else []
    found = [each for value in lists for each in value if isinstance(each, dict)]
    return [each for each in found if any(label in each for label in _LABELS) and any(key in each for key in _SHAPES)]


def _labelled(path: Path, task: dict[str, Any], by_name: dict[str, str]) -> Labelled:
    address = next((value for value in task.get("data", task).values() if isinstance(value, str)), "")
    image = next((by_name[name] for name in _file_names(address) if name in by_name), None)
    if image is None:
        raise DatasetError(f"{path}: the image {address} is not below {path.parent}: put the images beside the file")
    if "data" in task:
        results = [each for annotation in task["annotations"][:1] for each in annotation["result"]]
    else:
        results = [{**each, "value": each} for each in _minimal(task)]
    shapes = tuple((label, shape) for each in results for label, shape in _shapes(each))
    return Labelled(image, path.name, shapes)


def _file_names(address: str) -> Iterator[str]:
    """Yield the names that an image may have: Label Studio puts eight letters and a dash before what is uploaded."""
    parsed = urlparse(address)
    local = parse_qs(parsed.query).get("d", [parsed.path])[0]
    name = Path(unquote(local).replace("\\", "/")).name
    yield name
    start, dash, rest = name.partition("-")
    if dash and len(start) == 8:
        yield rest


def _shapes(result: dict[str, Any]) -> Iterator[tuple[str, Shape]]:
    value = result["value"]
    label = next((value[key][0] for key in _LABELS if value.get(key)), None)
    if label is None:
        return
    if "points" in value:
        yield label, RelativePolygon(tuple((x / 100, y / 100) for x, y in as_points(value["points"])))
    elif "rle" in value:
        yield label, Brush(tuple(value["rle"]), int(result["original_height"]), int(result["original_width"]))
    elif "radiusX" in value:
        x, y, a, b = (value[key] / 100 for key in ("x", "y", "radiusX", "radiusY"))
        yield label, RelativeBox(x - a, y - b, x + a, y + b, ellipse=True)
    elif "width" in value:
        x, y, w, h = (value[key] / 100 for key in ("x", "y", "width", "height"))
        yield label, RelativeBox(x, y, x + w, y + h)


def decode_brush(rle: tuple[int, ...], expected: int) -> np.ndarray:
    """Decode Label Studio's run-length encoding of bytes.

    Parameters
    ----------
    rle : tuple of int
        The code, in bytes.
    expected : int
        How many values it should stand for; nothing is allocated for another number.

    Returns
    -------
    ndarray
        uint8, one value for each of the numbers that were encoded: RGBA of the pixels, row by row.

    Raises
    ------
    DatasetError
        When the code ends early, or is of another number of values.
    """
    bits = np.unpackbits(np.asarray(rle, np.uint8))
    at = 0

    def read(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise DatasetError("brush strokes of Label Studio end early: export them anew")
        number = int("".join(map(str, bits[at : at + count])), 2) if count else 0
        at += count
        return number

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    if total != expected:
        raise DatasetError(
            f"brush strokes of Label Studio stand for {total:,} values, not {expected:,}: export them anew"
        )
    out = np.zeros(total, np.uint8)
    filled = 0
    while filled < total:
        same = read(1)
        count = read(sizes[read(2)]) + 1
        values = [read(word)] if same else [read(word) for _ in range(count)]
        out[filled : filled + count] = values[0] if same else values[: total - filled]
        filled += count
    return out
