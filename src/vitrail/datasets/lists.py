"""Lists of images: train.txt, val.txt and the like, as people and programs write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vitrail.datasets.files_path import Place
from vitrail.datasets.fold_names import fold_name, fold_names
from vitrail.datasets.pairs import Pair
from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError, nearest

SPLIT_NAMES = ("train", "val", "valid", "validation", "test", "trainval")
_DESCRIPTIONS = ("classes", "labelmap")


class ImageList:
    """The images that text files name, matched with those that there are.

    A line names an image by its path below the images folder or the root, or by its absolute path, with slashes or
    backslashes, with or without its suffix. Behind a space, tab, comma or semicolon it may name the mask too, by a
    path below the root.

    Parameters
    ----------
    root : Path or FilesPath
        The dataset's folder.
    images : str
        The images folder below it.
    pairs : sequence of Pair
        All images with their masks.
    """

    def __init__(self, root: Place, images: str, pairs: Sequence[Pair]) -> None:
        self.root = root
        self.images = images
        self.by_name: dict[str, Pair] = {}
        for pair in pairs:
            self.by_name[pair.id] = self.by_name[pair.image] = pair
            self.by_name[_without_suffix(pair.image)] = pair
        self.by_fold = {fold: self.by_name[name] for fold, name in fold_names(self.by_name).items()}

    def read(self, path: Place) -> list[Pair]:
        """Return the pairs that a list names, in its order.

        Raises
        ------
        DatasetError
            When a line names no image.
        """
        found = []
        for number, line in _lines(path):
            pair = self._pair(line)
            if pair is None:
                known = [name for name, pair in self.by_name.items() if name == pair.id]
                raise DatasetError(
                    f"{path}, line {number}: no image is called {line!r}.{nearest(line, known)} "
                    "The list should hold names below the images folder, with or without extension"
                )
            found.append(pair)
        return found

    def is_list(self, path: Place) -> bool:
        """Return whether a text file names images: by its own name, or since its first line does."""
        if path.stem.lower() in SPLIT_NAMES:
            return True
        if path.stem.lower() in _DESCRIPTIONS:
            return False
        try:
            first = next((line for _, line in _lines(path)), None)
        except DatasetError:
            return False
        return first is not None and self._pair(first) is not None

    def _pair(self, line: str) -> Pair | None:
        whole = self._image(line)
        if whole is not None:
            return whole
        for match in re.finditer(r"[\s,;]+", line):
            image = self._image(line[: match.start()])
            if image is None:
                continue
            mask = _slashes(line[match.end() :])
            if mask and mask != image.mask and (self.root / mask).is_file():
                return Pair(image.id, image.image, mask)
            return image
        return None

    def _image(self, entry: str) -> Pair | None:
        name = _slashes(entry)
        root = f"{_slashes(str(self.root.resolve()))}/"
        names = [name, name.removeprefix(root), name.removeprefix(f"{self.images}/")]
        candidates = [candidate for name in names for candidate in (name, _without_suffix(name))]
        known = next((self.by_name[candidate] for candidate in candidates if candidate in self.by_name), None)
        return known or next((self.by_fold[fold] for fold in map(fold_name, candidates) if fold in self.by_fold), None)


def read_lines(path: Place) -> list[str]:
    """Return the lines of a list that are not empty, with slashes for backslashes."""
    return [_slashes(line) for _, line in _lines(path)]


def _lines(path: Place) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            yield number, line.strip().strip('"')


def _slashes(name: str) -> str:
    return name.strip().strip('"').replace("\\", "/").removeprefix("./")


def _without_suffix(name: str) -> str:
    head, slash, tail = name.rpartition("/")
    return head + slash + (tail.rpartition(".")[0] or tail)
