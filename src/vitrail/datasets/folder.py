"""The dataset "folder": a user's own images and masks.

Layouts, below the root:

- `images/` and `masks/`, where the split is made from a seed, or listed in `train.txt` and `val.txt` (see `lists`);
- `images/train/`, `images/val/`, `masks/train/`, `masks/val/`;
- `train/images/`, `train/masks/`, `val/images/`, `val/masks/`.

An image and its mask share the path below these folders, up to the suffix. Classes are described in `classes.yaml` or
`classes.txt` (see `class_file.ClassFile`); without either they are inferred from the masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.files_path import Place
from vitrail.datasets.folder_names import IMAGE_FOLDERS, MASK_FOLDERS, folders_hint, folders_in, usual_folders
from vitrail.datasets.lists import ImageList
from vitrail.datasets.open_files import open_place
from vitrail.datasets.own_masks import describe, describe_masks
from vitrail.datasets.pairing import Pairing, other_format
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import Files
from vitrail.datasets.tiles import Tiles, tiled
from vitrail.errors import DatasetError

_VOC_LISTS = "ImageSets/Segmentation"


@register_dataset("folder", remote=True)
def folder(
    root: Path | None,
    split: str,
    *,
    images: str = "",
    masks: str = "",
    image_prefix: str = "",
    image_suffix: str = "",
    mask_prefix: str = "",
    mask_suffix: str = "",
    coloured: bool | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
    tile_size: int = 0,
    tile_overlap: int = 0,
) -> tuple[Benchmark, PairedFiles | Tiles]:
    """The user's own images and masks in a folder, an archive or object storage.

    Parameters
    ----------
    root : Path
        The folder, a .zip or uncompressed .tar archive of it, or the address of either.
    split : str
        "train", "val" or any other that the folder has; "all" takes every image.
    images, masks : str
        Names of the folders of images and of masks; empty takes the first that there is of images, img_dir
        (MMSegmentation), JPEGImages (Pascal VOC, CVAT), imgs, image and img, and of masks, ann_dir, SegmentationClass,
        labels, annotations, mask, label, annotation and gt. "." for both, where they lie side by side in the root.
    image_prefix, image_suffix, mask_prefix, mask_suffix : str
        What the file names have before and behind the part that an image and its mask share, such as "_mask".
    coloured : bool, optional
        Whether colours in the masks encode the classes, as listed under `palette` in classes.yaml, rather than values.
        None decides by a sample of the masks; see `mask_encoding.masks_are_coloured`.
    val_fraction : float, optional
        Fraction of the images in "val" when the folder has no splits; None is a fifth. Where it has "train" but no
        "val", a fraction that is given is taken from "train".
    split_seed : int
        Seed of that random split.
    tile_size, tile_overlap : int
        Height and width of the tiles that images are cut into, and how many pixels neighbours share; 0 does not cut.

    Raises
    ------
    DatasetError
        When the root is missing or empty, images have no masks, or the classes file disagrees.
    """
    files, place, splits = find_pairs(
        root, wanted=split, images=images, masks=masks, image_prefix=image_prefix, image_suffix=image_suffix,
        mask_prefix=mask_prefix, mask_suffix=mask_suffix, val_fraction=val_fraction, split_seed=split_seed,
    )  # fmt: skip
    pairs = pick_split(place, splits, split)
    classes, reader = describe_masks(files, [pair.mask for pair in splits["all"]], find_class_file(place), coloured)
    return describe("folder", place, classes), tiled(PairedFiles(files, pairs, reader), tile_size, tile_overlap)


def find_pairs(
    root: Path | None,
    *,
    wanted: str = "",
    images: str = "",
    masks: str = "",
    image_prefix: str = "",
    image_suffix: str = "",
    mask_prefix: str = "",
    mask_suffix: str = "",
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Files, Place, dict[str, list[Pair]]]:
    """Return the files of a folder, its place, and its images with their masks by split; "all" is one of them.

    A further split without any mask, such as images for a test, is left out unless it is the one that is wanted. The
    other arguments and the errors are those of the dataset "folder".
    """
    if root is None:
        raise DatasetError(
            "the dataset 'folder' needs a folder with images and masks: "
            "give it as --data-root (data.root in the recipe)"
        )
    files, place = open_place(root, "a folder with images and masks")
    images, masks = _folders(place, images, masks)
    pairing = Pairing(
        files, place, images=images, masks=masks, image_prefix=image_prefix, image_suffix=image_suffix,
        mask_prefix=mask_prefix, mask_suffix=mask_suffix,
    )  # fmt: skip
    return files, place, _splits(pairing, place, wanted, val_fraction, split_seed)


def _folders(root: Place, images: str, masks: str) -> tuple[str, str]:
    usual = (usual_folders(root) if not (images and masks) else None) or (IMAGE_FOLDERS[0], MASK_FOLDERS[0])
    return images or usual[0], masks or usual[1]


def _splits(pairing: Pairing, root: Place, wanted: str, val_fraction: float | None, seed: int) -> dict[str, list[Pair]]:
    images, masks = root / pairing.images, root / pairing.masks
    if not images.is_dir():
        names = [child.name for child in folders_in(root) if (child / pairing.images).is_dir()]
        parts = [(name, f"{name}/{pairing.images}", f"{name}/{pairing.masks}") for name in names]
        return complete_splits(_checked(_by_split(pairing, parts, wanted), root, pairing), val_fraction, seed)
    if not masks.is_dir():
        raise DatasetError(
            f"{root} has no folder {pairing.masks!r}: name it with data.options.masks."
            f"{other_format(root) or folders_hint(root)}"
        )
    names = [child.name for child in folders_in(images) if (masks / child.name).is_dir()]
    if {"train", "val", "test"} & {split_name(name) for name in names}:
        parts = [(name, f"{pairing.images}/{name}", f"{pairing.masks}/{name}") for name in names]
        return complete_splits(_checked(_by_split(pairing, parts, wanted), root, pairing), val_fraction, seed)
    pairs = _checked({"all": pairing.pairs(pairing.images, pairing.masks)}, root, pairing)["all"]
    listed = ImageList(root, pairing.images, pairs)
    places: list[Place] = [root, root / _VOC_LISTS]
    named = [path for place in places for path in _texts(place)]
    lists = [path for path in named if not path.name.startswith(".") and listed.is_list(path)]
    lists = [path for path in lists if path.stem != "default"]  # CVAT's list of everything
    splits: dict[str, list[Pair]] = {}
    for path in lists:
        splits.setdefault(split_name(path.stem), []).extend(listed.read(path))
    if not {"train", "val"} & set(splits):
        held_out = set(splits.get("test", ()))
        splits |= complete_splits({"all": [pair for pair in pairs if pair not in held_out]}, val_fraction, seed)
    return {**complete_splits(splits, val_fraction, seed), "all": pairs}


def _texts(folder: Place) -> list[Place]:
    found: list[Place] = list(folder.glob("*.txt"))
    return sorted(found, key=lambda path: path.name)


def _by_split(pairing: Pairing, parts: Sequence[tuple[str, str, str]], wanted: str) -> dict[str, list[Pair]]:
    """Return the pairs of folders (name, images, masks); "validation" and "val" are the same split."""
    splits: dict[str, list[Pair]] = {}
    for name, images, masks in parts:
        if split_name(name) not in ("train", "val", wanted) and not pairing.has_masks(masks):
            continue
        splits.setdefault(split_name(name), []).extend(pairing.pairs(images, masks))
    return splits


def _checked(splits: dict[str, list[Pair]], root: Place, pairing: Pairing) -> dict[str, list[Pair]]:
    """Return splits, or raise a DatasetError when there is no image in them."""
    if not any(splits.values()):
        raise DatasetError(
            f"{root} holds no images: it should have the folders {pairing.images!r} and {pairing.masks!r} "
            f"(or name them with data.options.images and data.options.masks), with files such as .jpg and .png."
            f"{other_format(root) or folders_hint(root)}"
        )
    return splits
