"""Roboflow's "semantic segmentation masks": folders train and valid with x.jpg, x_mask.png and _classes.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import ClassFile, class_file_of
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.formats.drawn import wanted_root
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.mask_files import IndexMasks
from vitrail.datasets.own_masks import describe
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import Folder
from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError

_CLASSES = "_classes.csv"
_MASK = "_mask"


@register_dataset("roboflow")
def roboflow(
    root: Path | None, split: str, *, val_fraction: float | None = None, split_seed: int = 0
) -> tuple[Benchmark, PairedFiles]:
    """Roboflow's export of semantic masks (PNG with _classes.csv), read in place.

    Parameters
    ----------
    root : Path
        The folder with train/ and valid/.
    split : str
        "train", "val", "test" or "all".
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When a mask is missing or _classes.csv has another form.
    """
    root = wanted_root(root, "roboflow")
    splits = {split_name(path.parent.name): _pairs(root, path.parent) for path in _class_files(root)}
    if not splits:
        raise DatasetError(f"{root} holds no {_CLASSES}: is it Roboflow's export 'semantic segmentation masks'?")
    pairs = pick_split(root, complete_splits(splits, val_fraction, split_seed), split)
    classes = _read_classes(_class_files(root)[0])
    return describe("roboflow", root, classes), PairedFiles(
        Folder(root), pairs, IndexMasks(classes.labels(), len(classes.classes))
    )


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no _classes.csv beside masks."""
    files = _class_files(root)
    if files and any(files[0].parent.glob(f"*{_MASK}.png")):
        return f"Roboflow's semantic masks in {', '.join(path.parent.name for path in files)}"
    return None


def _class_files(root: Path) -> list[Path]:
    return sorted([*root.glob(_CLASSES), *root.glob(f"*/{_CLASSES}")])


def _pairs(root: Path, folder: Path) -> list[Pair]:
    pairs = []
    for image in sorted(folder.iterdir()):
        if image.suffix.lower() not in IMAGE_SUFFIXES or image.stem.endswith(_MASK):
            continue
        mask = image.with_name(f"{image.stem}{_MASK}.png")
        if not mask.is_file():
            raise DatasetError(f"{image} has no mask {mask.name}")
        name = image.relative_to(root)
        pairs.append(Pair(name.with_suffix("").as_posix(), name.as_posix(), mask.relative_to(root).as_posix()))
    return pairs


def _read_classes(path: Path) -> ClassFile:
    rows = [[cell.strip() for cell in row] for row in csv.reader(read_text(path).splitlines()) if row]
    try:
        entries = [(int(value), name) for value, name, *_ in rows[1:]]
    except ValueError as error:
        raise DatasetError(f"{path} should hold the columns 'Pixel Value' and 'Class': {error}") from error
    if not entries:
        raise DatasetError(f"{path} names no class")
    return class_file_of({"classes": [name for _, name in entries], "values": [value for value, _ in entries]}, path)
