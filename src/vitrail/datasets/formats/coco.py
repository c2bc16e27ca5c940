"""COCO: one JSON file of polygons and run-length encoded masks for each split.

References
----------
cocodataset.org/#format-data; masks are decoded by pycocotools, as everywhere.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.formats.coco_checks import check_polygons, check_run_lengths
from vitrail.datasets.formats.drawn import BACKGROUND, DrawnMasks, Labelled, drawn_dataset, wanted_root
from vitrail.datasets.formats.json_file import as_described, peek_json, read_json
from vitrail.datasets.formats.shapes import Mask
from vitrail.datasets.storage import Folder
from vitrail.errors import DatasetError

# In "instances_val2017.json" and "valid/_annotations.coco.json", but not in "medieval.json".
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:id|idation|ing|set)?(?![a-z])")


REST_IS_IGNORED = "What no annotation covers is ignored."
"""The description of files in which every pixel of a class has an annotation, as `write_coco` writes them."""


@dataclass(frozen=True, eq=False)
class CocoRegion:
    """The segmentation of an annotation: polygons, or run lengths, plain or compressed."""

    segmentation: Any

    def fill(self, mask: Mask, value: int) -> None:
        """Set what it covers."""
        height, width = mask.shape
        encoded = self.encode(height, width)
        if encoded is not None:
            mask[decode_region(encoded) > 0] = value

    def encode(self, height: int, width: int) -> Any:
        """Return it as compressed run lengths in an image of this size; None where it covers nothing.

        Raises
        ------
        DatasetError
            When pycocotools is not installed, and for a region that is made for another size, or none at all.
        """
        coco_masks = import_coco_masks()
        region = self.segmentation
        if isinstance(region, dict) and list(region["size"]) != [height, width]:  # before memory is taken for it
            made_for = " × ".join(map(str, region["size"]))
            raise DatasetError(
                f"an annotation of COCO is made for {made_for} pixels, but its image has {height} × {width}: use "
                "images and annotations of one export"
            )
        if isinstance(region, list):
            check_polygons(region, height, width)
            polygons = [polygon for polygon in region if len(polygon) >= 6]
            return coco_masks.merge(coco_masks.frPyObjects(polygons, height, width)) if polygons else None
        check_run_lengths(region["size"], region["counts"])
        return coco_masks.frPyObjects(region, height, width) if isinstance(region["counts"], list) else region


def import_coco_masks() -> Any:
    """Return pycocotools' module for masks; a DatasetError says how to install it."""
    try:
        from pycocotools import mask as coco_masks
    except ImportError as error:
        raise DatasetError("masks of COCO need pycocotools: pip install 'vitrail[data]'") from error
    return coco_masks


def decode_region(encoded: Any) -> Mask:
    """Return compressed run lengths as 0 and 1, [H, W]."""
    with warnings.catch_warnings():  # pycocotools 2.0 is not quite ready for NumPy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        return np.asarray(import_coco_masks().decode(encoded))


@register_dataset("coco")
def coco(
    root: Path | None,
    split: str,
    *,
    annotations: str = "",
    images: str = "",
    background: str | None = BACKGROUND,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """Images with annotations of COCO, read in place; crowds count as their class.

    Parameters
    ----------
    root : Path
        The folder with one JSON file for each split, whose name has the word "train", "val" or "test" in it or that
        lies in a folder train, valid or test; a file that names no split is split at random.
    split : str
        Such as "train".
    annotations : str
        The JSON file below the root to read, in place of those that are found.
    images : str
        The images folder below the root; empty looks beside the JSON file and in the usual places.
    background : str or None
        Name of the class of what no annotation covers; null ignores it, and so do files that `vitrail dataset convert`
        wrote.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When a file cannot be read, an image is missing, or the categories of two files differ.
    """
    root = wanted_root(root, "coco")
    found = {_split_of(annotations): [root / annotations]} if annotations else _annotation_files(root)
    if not found:
        raise DatasetError(f"{root} holds no JSON file of COCO: name it with data.options.annotations")
    splits: dict[str, list[Labelled]] = {}
    classes: list[str] = []
    notes: set[str] = set()
    for name, paths in found.items():
        for path in paths:
            data = read_json(path)
            with as_described(path):
                names = [category["name"] for category in data["categories"]]
                splits.setdefault(name, []).extend(_labelled(root, path, data, images))
                notes.add(str((data.get("info") or {}).get("description")))
            classes += [name for name in names if name not in classes]
    if notes == {REST_IS_IGNORED} and background == BACKGROUND:
        background = None
    return drawn_dataset(
        "coco", root, splits, split, background=background, classes=classes, val_fraction=val_fraction,
        split_seed=split_seed,
    )  # fmt: skip


def recognise(root: Path) -> str | None:
    """Return what was found, or None when there is no JSON file of COCO."""
    found = _annotation_files(root)
    files = [path.relative_to(root).as_posix() for paths in found.values() for path in paths]
    return f"annotations of COCO in {', '.join(files[:4])}" if files else None


def _annotation_files(root: Path) -> dict[str, list[Path]]:
    """Return the JSON files of COCO by split; instances go before panoptic, stuff, captions and keypoints."""
    found: dict[str, list[Path]] = {}
    for name in Folder(root).below(""):
        parts = Path(name).parts
        other = any(word in parts[-1] for word in ("panoptic", "stuff", "captions", "keypoints", "image_info"))
        if not name.endswith(".json") or len(parts) > 3 or other:
            continue
        data = peek_json(root / name)
        if isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data):
            found.setdefault(_split_of(name), []).append(root / name)
    if "train" in found:
        found.pop("all", None)  # a file of everything, from which the others were made
    return found


def _split_of(name: str) -> str:
    """Return the split that the name of a file says, or else those of its folders; "all" where none does."""
    found = [_SPLIT_WORD.search(part) for part in reversed(Path(name.lower()).parts)]
    return next((match[1] for match in found if match), "all")


def _labelled(root: Path, path: Path, data: dict[str, Any], images: str) -> Iterator[Labelled]:
    categories = {category["id"]: category["name"] for category in data["categories"]}
    by_image: dict[Any, list[tuple[str, CocoRegion]]] = {}
    for annotation in data["annotations"]:
        if annotation.get("segmentation"):
            if annotation["category_id"] not in categories:
                raise DatasetError(
                    f"{path}: an annotation has the category {annotation['category_id']!r}, which is not among its "
                    "'categories': add it there, or export the file anew"
                )
            region = categories[annotation["category_id"]], CocoRegion(annotation["segmentation"])
            by_image.setdefault(annotation["image_id"], []).append(region)
    split = _split_of(path.relative_to(root).as_posix())
    places = [root / images] if images else _image_folders(root, path, split)
    for image in data["images"]:
        file = next((place / image["file_name"] for place in places if (place / image["file_name"]).is_file()), None)
        if file is None or not file.resolve().is_relative_to(root.resolve()):
            tried = ", ".join(dict.fromkeys(map(str, places)))
            raise DatasetError(
                f"the image {image['file_name']} of {path} is in none of {tried}: "
                "name its folder with data.options.images"
            )
        yield Labelled(
            file.relative_to(root).as_posix(), path.relative_to(root).as_posix(), tuple(by_image.get(image["id"], ()))
        )


def _image_folders(root: Path, path: Path, split: str) -> list[Path]:
    stem = path.stem.rpartition("_")[2]  # instances_train2017
    below = [root / part for part in ("", "images", split, f"images/{split}", stem, f"images/{stem}", "data")]
    return [path.parent, *below]
