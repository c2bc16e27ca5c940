"""YOLO: a YAML file with names and folders of images, and text files of polygons, or masks, for each image.

References
----------
docs.ultralytics.com/datasets/segment (polygons in fractions of the image) and /datasets/semantic (`masks_dir`,
`label_mapping`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import class_file_of
from vitrail.datasets.dataset import Source, register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.formats.drawn import BACKGROUND, Labelled, drawn_dataset, wanted_root
from vitrail.datasets.formats.shapes import RelativePolygon, as_points
from vitrail.datasets.formats.yaml_files import find_yaml
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.lists import read_lines
from vitrail.datasets.mask_files import IndexMasks
from vitrail.datasets.own_masks import describe
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split
from vitrail.datasets.storage import Folder
from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError
from vitrail.files.yaml_file import read_yaml
from vitrail.labels import IGNORE, WIDE_IGNORE_IN_FILES, ignore_index, is_wide

_SPLITS = ("train", "val", "test")
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


@register_dataset("yolo")
def yolo(
    root: Path | None,
    split: str,
    *,
    background: str | None = BACKGROUND,
    file: str = "",
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, Source]:
    """Images with the YAML file of YOLO and polygons or masks, read in place.

    Parameters
    ----------
    root : Path
        The folder with the YAML file.
    split : str
        "train", "val", "test" or "all".
    background : str or None
        Name of the class of what no polygon covers; null ignores it. Masks have their own.
    file : str
        Name of the YAML file; empty takes the one that there is.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When a file cannot be read or a line is no polygon.
    """
    root = wanted_root(root, "yolo")
    path = root / file if file else _yaml_file(root)
    if path is None:
        raise DatasetError(f"{root} holds no YAML file with 'names' and 'train': name it with data.options.file")
    data = read_yaml(path, DatasetError).data
    names = _names(data, path)
    base = _base(root, data)
    images = {name: _images(root, base, data[name]) for name in _SPLITS if data.get(name)}
    if data.get("masks_dir"):
        return _with_masks(root, base, data, names, images, split, val_fraction, split_seed)
    labelled = {name: [_labelled(root, image, names) for image in listed] for name, listed in images.items()}
    return drawn_dataset(
        "yolo", root, labelled, split, background=background, classes=names, val_fraction=val_fraction,
        split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no YAML file of YOLO."""
    path = _yaml_file(root)
    return f"{path.name} of YOLO" if path is not None else None


def _yaml_file(root: Path) -> Path | None:
    return find_yaml(root, lambda data: isinstance(data, dict) and "names" in data and "train" in data)


def _names(data: dict[str, Any], path: Path) -> list[str]:
    names = data.get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        return [str(names[index]) for index in range(len(names))]
    if isinstance(names, list):
        return [str(name) for name in names]
    raise DatasetError(f"{path}: 'names' should be a list of names, or number them from 0 without gaps")


def _base(root: Path, data: dict[str, Any]) -> Path:
    """Return the folder that the paths in the file are below: `path` where that exists, else the file's own folder."""
    given = root / str(data.get("path") or "")
    return given if given.is_dir() and given.resolve().is_relative_to(root.resolve()) else root


def _images(root: Path, base: Path, where: Any) -> list[str]:
    """Return the images of a split: a folder, a list, or several of them; Roboflow writes "../train/images"."""
    found: list[str] = []
    for entry in where if isinstance(where, list) else [where]:
        text = str(entry).replace("\\", "/")
        place = next((p for p in (base / text, base / text.removeprefix("../")) if p.exists()), None)
        if place is None or not place.resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{base / text} does not exist below {root}: correct the paths in the YAML file")
        if place.is_dir():
            folder = place.relative_to(root).as_posix()
            found += [name for name in Folder(root).below("" if folder == "." else folder) if _is_image(name)]
        else:
            lines = (base / line.removeprefix("./") for line in read_lines(place))
            found += [line.resolve().relative_to(root.resolve()).as_posix() for line in lines]
    return found


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _in_place_of_images(image: str, folder: str) -> Path:
    """Return the path of an image with the last folder "images" replaced, as YOLO finds labels."""
    head, found, tail = f"/{image}".rpartition("/images/")
    return Path(f"{head}/{folder}/{tail}"[1:] if found else f"{folder}/{image}")


def _labelled(root: Path, image: str, names: list[str]) -> Labelled:
    label = _in_place_of_images(image, "labels").with_suffix(".txt")
    if not (root / label).is_file():
        return Labelled(image, image, ())  # an image without objects has no file
    shapes = []
    for number, line in enumerate(read_text(root / label).splitlines(), 1):
        values = line.split()
        if not values:
            continue
        try:
            index, points = _index(values[0]), as_points([float(value) for value in values[1:]])
        except ValueError as error:
            raise DatasetError(f"{root / label}, line {number}: {error}") from error
        if len(points) < 3:
            raise DatasetError(f"{root / label}, line {number} is no polygon: boxes say nothing about pixels")
        if not 0 <= index < len(names):
            raise DatasetError(f"{root / label}, line {number}: there is no class {index} under 'names'")
        shapes.append((names[index], RelativePolygon(points)))
    return Labelled(image, label.as_posix(), tuple(shapes))


def _index(text: str) -> int:
    """Return the index of a class, of which some tools write a fraction of 0."""
    if not float(text).is_integer():
        raise ValueError(f"{text[:40]!r} is no index of a class")
    return int(float(text))


def _with_masks(
    root: Path,
    base: Path,
    data: dict[str, Any],
    names: list[str],
    images: dict[str, list[str]],
    split: str,
    val_fraction: float | None,
    split_seed: int,
) -> tuple[Benchmark, PairedFiles]:
    mapping = data.get("label_mapping") or {}
    ignored = ignore_index(len(names))
    labels = {
        int(raw): ignored if new is None or int(new) in (ignored, -1) else int(new) for raw, new in mapping.items()
    }
    known = labels or {index: index for index in range(len(names))}
    pairs = {name: [_pair(root, image, str(data["masks_dir"])) for image in listed] for name, listed in images.items()}
    chosen = pick_split(root, complete_splits(pairs, val_fraction, split_seed), split)
    classes = class_file_of({"classes": names}, root)
    usual = {WIDE_IGNORE_IN_FILES if is_wide(len(names)) else IGNORE: ignored}
    reader = IndexMasks({**usual, **known}, len(names))
    return describe("yolo", root, classes), PairedFiles(Folder(root), chosen, reader)


def _pair(root: Path, image: str, masks: str) -> Pair:
    stem = _in_place_of_images(image, masks).with_suffix("")
    mask = next(
        (stem.with_suffix(suffix) for suffix in _MASK_SUFFIXES if (root / stem.with_suffix(suffix)).is_file()), None
    )
    if mask is None:
        raise DatasetError(f"{root / image} has no mask {root / stem}.png")
    return Pair(Path(image).with_suffix("").as_posix(), image, mask.as_posix())
