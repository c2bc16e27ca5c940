"""LightlyTrain: a YAML file with its `data` argument, whose masks may be a template of the image's path.

References
----------
docs.lightly.ai/train/stable/semantic_segmentation.html, "Data".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import class_file_of
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.formats.drawn import wanted_root
from vitrail.datasets.formats.yaml_files import find_yaml
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.mask_files import ColourMasks, IndexMasks, MaskReader
from vitrail.datasets.own_masks import describe
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError
from vitrail.files.home import expand_home
from vitrail.files.yaml_file import read_yaml
from vitrail.labels import IGNORE, WIDE_IGNORE_IN_FILES, ignore_index, is_wide

_SPLITS = ("train", "val")
# Of a path, what a template can say; anything more of Python's format strings would reach beyond the path.
_FIELD = re.compile(r"\{image_path((?:\.(?:parent|stem|name|suffix))*)\}")
_LISTED = 3

Value = int | tuple[int, ...]


@register_dataset("lightly")
def lightly(
    root: Path | None, split: str, *, file: str = "", val_fraction: float | None = None, split_seed: int = 0
) -> tuple[Benchmark, PairedFiles]:
    """LightlyTrain's images and masks by a YAML file of its `data` argument, read in place.

    Parameters
    ----------
    root : Path
        The folder with the YAML file: `train` and `val`, each with `images` (a folder) and `masks` (a folder, or a
        template such as "{image_path.parent.parent}/masks/{image_path.stem}_mask.png"), `classes` by value, or by
        number with `name` and `labels` (values or colours), and `ignore_classes`.
    split : str
        "train", "val" or "all".
    file : str
        Name of the YAML file; empty takes the one that there is.
    val_fraction, split_seed
        Of the random split where there is no `val`; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When the file says something else, or an image has no mask.
    """
    root = wanted_root(root, "lightly").resolve()
    path = root / file if file else _yaml_file(root)
    if path is None:
        raise DatasetError(
            f"{root} holds no YAML file with LightlyTrain's 'train: {{images: …, masks: …}}' and 'classes': name it "
            "with data.options.file"
        )
    data = _section(read_yaml(path, DatasetError).data)
    if data is None:
        raise DatasetError(f"{path} should hold LightlyTrain's 'train: {{images: …, masks: …}}' and 'classes'")
    parts = {name: _pairs(root, path, data[name], name) for name in _SPLITS if data.get(name)}
    pairs = pick_split(root, complete_splits(parts, val_fraction, split_seed), split)
    names, reader = _classes(data, path)
    classes = class_file_of({"classes": names}, path)
    return describe("lightly", root, classes), PairedFiles(Folder(root), pairs, reader)


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no YAML file of LightlyTrain's data."""
    path = _yaml_file(root)
    return f"{path.name} of LightlyTrain" if path is not None else None


def _yaml_file(root: Path) -> Path | None:
    return find_yaml(root, lambda data: _section(data) is not None)


def _section(data: Any) -> dict[str, Any] | None:
    """Return what the file says of the data: the whole of it, or what is under `data`; None for another file."""
    for section in (data, data.get("data") if isinstance(data, dict) else None):
        if isinstance(section, dict) and isinstance(section.get("classes"), dict):
            train = section.get("train")
            if isinstance(train, dict) and {"images", "masks"} <= set(train):
                return section
    return None


def _pairs(root: Path, path: Path, part: Any, name: str) -> list[Pair]:
    """Return the images of a split with their masks. Files that are masks of other images are no images."""
    if not isinstance(part, dict) or not all(isinstance(part.get(key), str) for key in ("images", "masks")):
        raise DatasetError(f"{path}: {name} should hold 'images' and 'masks', each a path")
    images = _below(root, part["images"])
    if images is None or not (root / images).is_dir():
        raise DatasetError(f"{path}: {name}.images: there is no folder {part['images']} in {root}")
    masks = {
        image: _mask(root, path, image, images, part["masks"])
        for image in Folder(root).below("" if images == Path() else images.as_posix())
        if Path(image).suffix.lower() in IMAGE_SUFFIXES
    }
    found = {image: mask for image, mask in masks.items() if mask is not None and (root / mask).is_file()}
    missing = [image for image in masks if image not in found and image not in found.values()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of the {name} images in {root / images} have no mask by {part['masks']!r} in {path}: "
            f"{', '.join(missing[:_LISTED])}{', …' if len(missing) > _LISTED else ''}. Add the masks or remove the "
            "images"
        )
    return [Pair(Path(image).with_suffix("").as_posix(), image, mask) for image, mask in found.items()]


def _mask(root: Path, path: Path, image: str, images: Path, masks: str) -> str | None:
    """Return the mask of an image, below the root: of the same name in a folder, or by a template; None outside."""
    if "{" not in masks:
        folder = _below(root, masks)
        inside = Path(image).relative_to(images).with_suffix(".png")
        return None if folder is None else (folder / inside).as_posix()
    if "{" in _FIELD.sub("", masks):
        raise DatasetError(
            f"{path}: the template {masks!r} should have no other fields than {{image_path}} with .parent, .stem, "
            ".name and .suffix"
        )
    found = _below(root, _FIELD.sub(lambda match: _field(root / image, match[1]), masks))
    return None if found is None else found.as_posix()


def _field(image: Path, attributes: str) -> str:
    value: Any = image
    for attribute in attributes.split(".")[1:]:
        if isinstance(value, str):
            raise DatasetError(f"{{image_path{attributes}}}: only a path has .{attribute}")
        value = getattr(value, attribute)
    return str(value)


def _below(root: Path, text: str) -> Path | None:
    """Return a path as one below the root; None when it leads out.

    It may be absolute, below the root, or begin with the root's own name, as from the folder above it.
    """
    given = expand_home(text.replace("\\", "/"))
    above = given.parts[:1] == (root.name,) and not (root / given).exists()
    found = Path(os.path.normpath((root.parent if above else root) / given))
    return found.relative_to(root) if found.is_relative_to(root) else None


def _classes(data: Mapping[str, Any], path: Path) -> tuple[list[str], MaskReader]:
    """Return the names of the classes, and the reader of the masks."""
    ignored = set(data.get("ignore_classes") or ())
    unknown = sorted(ignored - set(data["classes"]), key=str)
    if unknown:
        raise DatasetError(f"{path}: ignore_classes: there is no class {unknown[0]!r} under 'classes'")
    names: list[str] = []
    values: dict[Value, int | None] = {}
    for number, described in data["classes"].items():
        name, own = _described(number, described, path)
        index = None if number in ignored else len(names)
        if index is not None:
            names.append(name)
        for value in own:
            if value in values:
                raise DatasetError(f"{path}: classes: {_plain(value)} stands for two classes")
            values[value] = index
    if not names:
        raise DatasetError(f"{path}: every class is among ignore_classes")
    rest = ignore_index(len(names))
    labels = {value: rest if index is None else index for value, index in values.items()}
    colours = {value: index for value, index in labels.items() if isinstance(value, tuple) and len(value) == 3}
    if len(colours) == len(labels):
        return names, ColourMasks({(r, g, b): index for (r, g, b), index in colours.items()}, len(names))
    numbers = {value: index for value, index in labels.items() if isinstance(value, int)}
    if len(numbers) < len(labels):
        raise DatasetError(f"{path}: classes: the labels should be values for all classes, or [red, green, blue]")
    usual = WIDE_IGNORE_IN_FILES if is_wide(len(names)) else IGNORE
    return names, IndexMasks({usual: rest, **numbers}, len(names))


def _described(number: Any, described: Any, path: Path) -> tuple[str, list[Value]]:
    """Return the name of a class and what it is in the masks: its number, or the values or colours that it lists."""
    if isinstance(described, str) and isinstance(number, int):
        return described, [number]
    listed = described.get("labels", described.get("values")) if isinstance(described, dict) else None
    if not isinstance(listed, list) or not isinstance(described.get("name"), str):
        raise DatasetError(f"{path}: classes: {number!r} should be a name, or have 'name' and a list of 'labels'")
    found: list[Value] = [tuple(label) if isinstance(label, list) else label for label in listed]
    wrong = [v for v in found if not all(type(part) is int for part in (v if isinstance(v, tuple) else (v,)))]
    if wrong:
        raise DatasetError(f"{path}: classes: {number!r}: {_plain(wrong[0])!r} is neither a value nor a colour")
    return described["name"], found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
