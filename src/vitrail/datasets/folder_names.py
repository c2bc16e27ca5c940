"""The names that people give the folders of images and of masks, and what to say where they have others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from vitrail.datasets.files_path import Place
from vitrail.datasets.image_files import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "img_dir", "JPEGImages", "imgs", "image", "img")
MASK_FOLDERS = (
    *("masks", "ann_dir", "SegmentationClass", "labels", "annotations", "mask", "label", "annotation", "gt"),
)
_OF_MASKS = ("mask", "label", "ann", "gt", "seg", "target", "truth")  # what names of folders of masks contain
_LOOKED_AT = 1000  # files of a folder, to find out whether there are images among them


def usual_folders(root: Place) -> tuple[str, str] | None:
    """Return the names of folders of images and of masks that a folder, or one of those in it, has: the usual ones.

    Upper and lower case do not matter.
    """
    places: list[Place] = [root, *folders_in(root)]
    for place in places:
        there = {folder.name: folder.name for folder in folders_in(place)}
        there = {**{name.lower(): name for name in there}, **there}
        images, masks = (
            next((there.get(name, there.get(name.lower())) for name in names if name.lower() in there), None)
            for names in (IMAGE_FOLDERS, MASK_FOLDERS)
        )
        if images and masks:
            return images, masks
    return None


def folders_in(root: Place) -> list[Place]:
    """Return the folders in a folder, by name."""
    found: list[Place] = [child for child in root.iterdir() if child.is_dir()] if root.is_dir() else []
    return sorted(found, key=lambda child: child.name)


def folders_hint(root: Place) -> str:
    """Return what to do where a folder has none of the usual folders, beginning with a space; empty for no advice."""
    if isinstance(root, Path):
        above = root.resolve().parent
        usual = usual_folders(above)
        if usual and root.resolve().name in usual and all((above / name).is_dir() for name in usual):
            return f" It is the folder {root.resolve().name!r} of a dataset: give {above} as --data-root"
    if _holds_images(root):
        return _side_by_side(root)
    named = [folder.name for folder in folders_in(root) if _holds_images(folder)]
    if len(named) < 2:
        return ""
    masks = next((name for name in named if any(part in name.lower() for part in _OF_MASKS)), named[1])
    images = next(name for name in named if name != masks)
    return (
        f" Images are in its folders {', '.join(named[:5])}: to take {images!r} with the masks in {masks!r}, set "
        f"data.options.images={images} and data.options.masks={masks}"
    )


def _side_by_side(root: Place) -> str:
    """Return what to do where images and masks lie in one folder: name.jpg with name.png, or with name_mask.png."""
    stems = sorted({PurePosixPath(name).stem for name in _images_in(root)}, key=len)
    suffixes: dict[str, int] = {}
    for stem in stems[: len(stems) // 2]:
        for other in stems:
            if other != stem and other.startswith(stem):
                suffixes[other.removeprefix(stem)] = suffixes.get(other.removeprefix(stem), 0) + 1
    usual = max(suffixes, key=lambda suffix: suffixes[suffix], default="")
    many = usual and 2 * suffixes[usual] >= len(stems) // 2
    more = f", and data.options.mask_suffix={usual}" if many else ""
    return (
        " Image files lie in the folder itself: if they are images and their masks, set data.options.images=. and "
        f"data.options.masks=.{more}"
    )


def _holds_images(folder: Place) -> bool:
    return bool(_images_in(folder))


def _images_in(folder: Place) -> Sequence[str]:
    if not folder.is_dir():
        return []
    children: Iterator[Place] = iter(folder.iterdir())
    names = [child.name for child in itertools.islice(children, _LOOKED_AT)]
    return [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != "."]
