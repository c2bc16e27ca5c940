"""Pairing images with masks by the names of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from vitrail.datasets.files_path import Place
from vitrail.datasets.fold_names import fold_names
from vitrail.datasets.formats.recognise import recognise_format
from vitrail.datasets.image_files import IMAGE_SUFFIXES
from vitrail.datasets.pairs import Pair
from vitrail.datasets.storage import Files
from vitrail.datasets.warn_once import warn_once
from vitrail.errors import DatasetError

_LISTED = 3
_TRIED = 20  # ways to tell images from masks by what stands around the common part of their names
_MOST = 0.8  # of the images must have masks by them
_NO_MASKS = ("color", "colour", "instance", "overlay", "vis")  # parts of names of what lies beside the masks
_LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
_PARTS = ("image_prefix", "image_suffix", "mask_prefix", "mask_suffix")


class Pairing:
    """Pairs images with masks below one root.

    Parameters
    ----------
    files : Files
        The storage.
    root : Path or FilesPath
        The dataset's folder.
    images, masks : str
        Names of the folders of images and of masks; one name for both where they lie side by side.
    image_prefix, image_suffix, mask_prefix, mask_suffix : str
        What the file names have before and behind the part that an image and its mask share.
    """

    def __init__(
        self,
        files: Files,
        root: Place,
        *,
        images: str,
        masks: str,
        image_prefix: str = "",
        image_suffix: str = "",
        mask_prefix: str = "",
        mask_suffix: str = "",
    ) -> None:
        self.files = files
        self.root = root
        self.images = images
        self.masks = masks
        self.of_image = (image_prefix, image_suffix)
        self.of_mask = (mask_prefix, mask_suffix)

    def pairs(self, images: str, masks: str) -> list[Pair]:
        """Pair the files of two folders."""
        image_of, mask_of = self._images(images, masks), self._masks(images, masks)
        partner = {stem: stem for stem in image_of if stem in mask_of}
        alike = fold_names(stem for stem in image_of if stem not in partner)
        folded = fold_names(stem for stem in mask_of if stem not in partner)
        partner |= {stem: folded[fold] for fold, stem in alike.items() if fold in folded}
        missing = [stem for stem in image_of if stem not in partner]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(image_of)} images {'has' if len(missing) == 1 else 'have'} no mask of the "
                f"same name in {self.files.locate(masks)}: {self._listed(image_of[stem] for stem in missing)}."
                f"{self._hint(missing, image_of, mask_of, masks)}"
            )
        used = set(partner.values())
        unused = [name for stem, name in mask_of.items() if stem not in used]
        if unused and image_of:
            warn_once(
                f"{len(unused)} {'mask has' if len(unused) == 1 else 'masks have'} no image of the same name in "
                f"{self.files.locate(images)}, not used: "
                f"{self._listed(unused)}"
            )
        return [Pair(stem, image, mask_of[partner[stem]]) for stem, image in image_of.items()]

    def has_masks(self, masks: str) -> bool:
        """Return whether there is an image file in a folder of masks."""
        return any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in self.files.below(masks))

    def _images(self, images: str, masks: str) -> dict[str, str]:
        names = self._named(images, self.of_image)
        if images == masks:
            names = [name for name in names if self._is_image(name)]
        return self._by_stem(images, names, self.of_image)

    def _masks(self, images: str, masks: str) -> dict[str, str]:
        names = self._named(masks, self.of_mask)
        if images == masks:
            names = [name for name in names if not self._is_image(name)]
        return self._by_stem(masks, names, self.of_mask)

    def _is_image(self, name: str) -> bool:
        """Return whether a file is an image, where masks lie in the same folder: a JPEG, or by its name."""
        if self.of_mask != ("", ""):
            return not _has(PurePosixPath(name).stem, self.of_mask)
        if self.of_image != ("", ""):
            return _has(PurePosixPath(name).stem, self.of_image)
        return PurePosixPath(name).suffix.lower() in _LOSSY_SUFFIXES

    def _named(self, folder: str, parts: tuple[str, str]) -> list[str]:
        names = self.files.below("" if folder == "." else folder)
        paths = ((name, PurePosixPath(name)) for name in names)
        return [name for name, path in paths if path.suffix.lower() in IMAGE_SUFFIXES and _has(path.stem, parts)]

    def _by_stem(self, folder: str, names: Sequence[str], parts: tuple[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in names:
            inside = PurePosixPath(name).relative_to(folder)
            stem = str(inside.with_name(inside.stem[len(parts[0]) : len(inside.stem) - len(parts[1])]))
            if stem in found:
                raise DatasetError(
                    f"{self.files.locate(found[stem])} and {self.files.locate(name)} have the same name up to the "
                    "extension: keep one of them"
                )
            found[stem] = name
        return found

    def _listed(self, names: Iterable[str]) -> str:
        listed = [self.files.locate(name) for name in names]
        return ", ".join(listed[:_LISTED]) + (", …" if len(listed) > _LISTED else "")

    def _hint(self, missing: Sequence[str], image_of: Mapping[str, str], mask_of: Mapping[str, str], masks: str) -> str:
        """Return what to do about images without masks."""
        first = missing[0]
        texts = [name for name in self.files.below(masks) if name.lower().endswith(".txt")]
        if any(PurePosixPath(name).stem == PurePosixPath(first).name for name in texts):
            return (
                f" There are text files such as {self.files.locate(texts[0])}: if they are polygons of YOLO, describe "
                "them in a file data.yaml (train: and val: the folders of images, names: the classes) and set "
                "data.dataset=yolo"
            )
        options = self._told_apart(missing, image_of, mask_of)
        if options:
            return f" To pair them, set {' and '.join(f'data.options.{key}={value}' for key, value in options.items())}"
        elsewhere = [stem for stem in mask_of if PurePosixPath(stem).name == PurePosixPath(first).name]
        if elsewhere:
            return (
                f" Is it {self.files.locate(mask_of[elsewhere[0]])}? An image and its mask share their path below "
                f"{self.images} and {self.masks}: move the one to where the other is"
            )
        return other_format(self.root) or " Add the masks or remove the images."

    def _told_apart(
        self, missing: Sequence[str], image_of: Mapping[str, str], mask_of: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the options by which most images have masks, found by the names that are most alike."""
        first = PurePosixPath(missing[0]).name
        by_likeness = sorted(
            mask_of, key=lambda stem: (any(part in stem.lower() for part in _NO_MASKS), -_common(first, _name(stem)))
        )
        best: dict[str, str] = {}
        most = int(_MOST * len(image_of))
        for other in by_likeness[:_TRIED]:
            around = _around(first, _name(other))
            if around is None:
                continue
            stems = {_between(stem, around[:2]) for stem in image_of} - {None}
            paired = len(stems & {_between(stem, around[2:]) for stem in mask_of})
            if paired > most:
                own = (*self.of_image, *self.of_mask)
                values = [a + b if at % 2 == 0 else b + a for at, (a, b) in enumerate(zip(own, around, strict=True))]
                best, most = dict(zip(_PARTS, values, strict=True)), paired
        return {key: value for key, value in best.items() if value}


def other_format(root: Place) -> str:
    """Return how to read a folder that is in the format of another program; empty where it is in none."""
    other = recognise_format(root) if isinstance(root, Path) else None
    return f" The folder holds {other.found}: read it with data.dataset={other.dataset}" if other else ""


def _name(stem: str) -> str:
    return PurePosixPath(stem).name


def _has(stem: str, parts: tuple[str, str]) -> bool:
    return stem.startswith(parts[0]) and stem.endswith(parts[1]) and len(stem) > len(parts[0]) + len(parts[1])


def _between(stem: str, parts: Sequence[str]) -> str | None:
    """Return a path without what its last part begins and ends with; None where it does not."""
    path = PurePosixPath(stem)
    before, behind = parts
    if not (path.name.startswith(before) and path.name.endswith(behind) and len(path.name) > len(before) + len(behind)):
        return None
    return str(path.with_name(path.name[len(before) : len(path.name) - len(behind)]))


def _start(first: str, second: str) -> str:
    """Return what two names begin with in common."""
    length = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[:length] if length is not None else min(first, second, key=len)


def _common(first: str, second: str) -> int:
    """Return how many characters two names begin and end with in common."""
    return len(_start(first, second)) + len(_start(first[::-1], second[::-1]))


def _around(image: str, mask: str) -> tuple[str, str, str, str] | None:
    """Return what stands before and behind the common part of two names, in the image's and in the mask's."""
    if image and image in mask:
        before, _, behind = mask.partition(image)
        return "", "", before, behind
    start, end = len(_start(image, mask)), len(_start(image[::-1], mask[::-1]))
    if start >= end and start:
        return "", image[start:], "", mask[start:]
    return (image[:-end], "", mask[:-end], "") if end else None
