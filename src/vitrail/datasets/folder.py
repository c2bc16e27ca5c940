"""The dataset "folder": a user's own images and masks.

Layouts, below the root:

- `images/` and `masks/`, where the split is made from a seed, or listed in `train.txt` and `val.txt` (see `lists`);
- `images/train/`, `images/val/`, `masks/train/`, `masks/val/`;
- `train/images/`, `train/masks/`, `val/images/`, `val/masks/`.

An image and its mask share the path below these folders, up to the suffix. Classes are described in `classes.yaml` or
`classes.txt` (see `class_file.ClassFile`); without either they are inferred from the masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import find_class_file
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles
from vitrail.datasets.files_path import Place
from vitrail.datasets.formats.recognise import recognise_format
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.lists import ImageList
from vitrail.datasets.open_files import open_place
from vitrail.datasets.own_masks import describe, describe_masks
from vitrail.datasets.pairs import Pair
from vitrail.datasets.splits import complete_splits, pick_split, split_name
from vitrail.datasets.storage import Files
from vitrail.datasets.tiles import Tiles, tiled
from vitrail.errors import DatasetError

_LISTED = 3
_USUAL = (
    ("images", "masks"),
    ("img_dir", "ann_dir"),
    ("JPEGImages", "SegmentationClass"),
    ("images", "labels"),
    ("images", "annotations"),
    ("imgs", "masks"),
)
_VOC_LISTS = "ImageSets/Segmentation"


@register_dataset("folder", remote=True)
def folder(
    root: Path | None,
    split: str,
    *,
    images: str = "",
    masks: str = "",
    image_suffix: str = "",
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
        Names of the folders of images and of masks; empty takes the first that there are of images and masks, img_dir
        and ann_dir (MMSegmentation), JPEGImages and SegmentationClass (Pascal VOC, CVAT), images and labels,
        images and annotations, imgs and masks.
    image_suffix, mask_suffix : str
        Suffix of the file names after the common stem, before the extension, such as "_mask".
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
        root, images=images, masks=masks, image_suffix=image_suffix, mask_suffix=mask_suffix,
        val_fraction=val_fraction, split_seed=split_seed,
    )  # fmt: skip
    pairs = pick_split(place, splits, split)
    classes, reader = describe_masks(files, [pair.mask for pair in splits["all"]], find_class_file(place), coloured)
    return describe("folder", place, classes), tiled(PairedFiles(files, pairs, reader), tile_size, tile_overlap)


def find_pairs(
    root: Path | None,
    *,
    images: str = "",
    masks: str = "",
    image_suffix: str = "",
    mask_suffix: str = "",
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Files, Place, dict[str, list[Pair]]]:
    """Return the files of a folder, its place, and its images with their masks by split; "all" is one of them.

    Arguments and errors are those of the dataset "folder".
    """
    if root is None:
        raise DatasetError(
            "the dataset 'folder' needs a folder with images and masks: "
            "give it as --data-root (data.root in the recipe)"
        )
    files, place = open_place(root, "a folder with images and masks")
    pairing = _Pairing(files, place, *_folders(place, images, masks), image_suffix, mask_suffix)
    return files, place, _splits(pairing, place, val_fraction, split_seed)


def usual_folders(root: Place) -> tuple[str, str] | None:
    """Return the first usual pair of names of folders of images and masks that a folder, or those in it, has."""
    places: list[Place] = [root, *_folders_in(root)]
    return next((pair for pair in _USUAL for place in places if all((place / name).is_dir() for name in pair)), None)


def _folders_in(root: Place) -> list[Place]:
    found: list[Place] = [child for child in root.iterdir() if child.is_dir()]
    return sorted(found, key=lambda child: child.name)


def _folders(root: Place, images: str, masks: str) -> tuple[str, str]:
    usual = usual_folders(root) if not (images and masks) else None
    return images or (usual or _USUAL[0])[0], masks or (usual or _USUAL[0])[1]


class _Pairing:
    """Pairs images with masks below one root."""

    def __init__(self, files: Files, root: Place, images: str, masks: str, image_suffix: str, mask_suffix: str) -> None:
        self.files = files
        self.root = root
        self.images = images
        self.masks = masks
        self.image_suffix = image_suffix
        self.mask_suffix = mask_suffix

    def pairs(self, images: str, masks: str) -> list[Pair]:
        """Pair the files of two folders."""
        image_of = self._by_stem(images, self.image_suffix)
        mask_of = self._by_stem(masks, self.mask_suffix)
        missing = [image for stem, image in image_of.items() if stem not in mask_of]
        if missing:
            self._explain(missing, len(image_of), masks, mask_of)
        return [Pair(stem, image, mask_of[stem]) for stem, image in image_of.items()]

    def _by_stem(self, folder: str, suffix: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.files.below(folder):
            path = PurePosixPath(name)
            if path.suffix.lower() not in IMAGE_SUFFIXES or not path.stem.endswith(suffix):
                continue
            inside = path.relative_to(folder)
            stem = str(inside.with_name(inside.stem[: len(inside.stem) - len(suffix)]))
            if stem in found:
                raise DatasetError(
                    f"{self.files.locate(found[stem])} and {self.files.locate(name)} have the same name up to the "
                    "extension: keep one of them"
                )
            found[stem] = name
        return found

    def _explain(self, missing: Sequence[str], count: int, masks: str, mask_of: Mapping[str, str]) -> None:
        listed = ", ".join(self.files.locate(name) for name in missing[:_LISTED])
        stem = PurePosixPath(missing[0]).stem.removesuffix(self.image_suffix)
        similar = [other for other in mask_of if PurePosixPath(other).name.startswith(stem)]
        hint = ""
        if similar:
            suffix = PurePosixPath(similar[0]).name.removeprefix(stem) + self.mask_suffix
            hint = f" Is it {self.files.locate(mask_of[similar[0]])}? Then set data.options.mask_suffix={suffix}"
        raise DatasetError(
            f"{len(missing)} of {count} images {'has' if len(missing) == 1 else 'have'} no mask of the same name in "
            f"{self.files.locate(masks)}: {listed}{', …' if len(missing) > _LISTED else ''}."
            f"{hint or _other_format(self.root) or ' Add the masks or remove the images.'}"
        )


def _other_format(root: Place) -> str:
    other = recognise_format(root) if isinstance(root, Path) else None
    return f" The folder holds {other.found}: read it with data.dataset={other.dataset}" if other else ""


def _splits(pairing: _Pairing, root: Place, val_fraction: float | None, seed: int) -> dict[str, list[Pair]]:
    images, masks = root / pairing.images, root / pairing.masks
    if not images.is_dir():
        names = [child.name for child in _folders_in(root) if (child / pairing.images).is_dir()]
        parts = [(name, f"{name}/{pairing.images}", f"{name}/{pairing.masks}") for name in names]
        return complete_splits(_checked(_by_split(pairing, parts), root, pairing), val_fraction, seed)
    if not masks.is_dir():
        raise DatasetError(
            f"{root} has no folder {pairing.masks!r}: name it with data.options.masks.{_other_format(root)}"
        )
    names = [child.name for child in _folders_in(images) if (masks / child.name).is_dir()]
    if {"train", "val", "test"} & {split_name(name) for name in names}:
        parts = [(name, f"{pairing.images}/{name}", f"{pairing.masks}/{name}") for name in names]
        return complete_splits(_checked(_by_split(pairing, parts), root, pairing), val_fraction, seed)
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


def _by_split(pairing: _Pairing, parts: Sequence[tuple[str, str, str]]) -> dict[str, list[Pair]]:
    """Return the pairs of folders (name, images, masks); "validation" and "val" are the same split."""
    splits: dict[str, list[Pair]] = {}
    for name, images, masks in parts:
        splits.setdefault(split_name(name), []).extend(pairing.pairs(images, masks))
    return splits


def _checked(splits: dict[str, list[Pair]], root: Place, pairing: _Pairing) -> dict[str, list[Pair]]:
    """Return splits, or raise a DatasetError when there is no image in them."""
    if not any(splits.values()):
        raise DatasetError(
            f"{root} holds no images: it should have the folders {pairing.images!r} and {pairing.masks!r} "
            f"(or name them with data.options.images and data.options.masks), with files such as .jpg and .png."
            f"{_other_format(root)}"
        )
    return splits
