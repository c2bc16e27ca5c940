"""The image and mask files of a benchmark, found by its description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.image_files import decode_image
from vitrail.datasets.mask_files import MaskReader, mask_reader
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.storage import Files, open_files
from vitrail.errors import DatasetError, nearest


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file."""

    id: str
    image: str
    mask: str


class PairedFiles:
    """Images and masks in files.

    Parameters
    ----------
    files : Files
        Storage to read from.
    pairs : sequence of Pair
        The images with their masks.
    read_mask : MaskReader
        Converts mask files to class indices.

    Attributes
    ----------
    pixels : PixelFormat
        The channels and the range of values of the images.
    """

    def __init__(self, files: Files, pairs: Sequence[Pair], read_mask: MaskReader) -> None:
        self.files = files
        self.pairs = pairs
        self.read_mask = read_mask
        self.pixels: PixelFormat = RGB
        self.ids = [pair.id for pair in pairs]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 or int16 [H, W].

        Raises
        ------
        DatasetError
            When a file is unreadable, the mask's size is not the image's, or the mask holds an unknown value.
        """
        pair = self.pairs[index]
        image = decode_image(self.files.read(pair.image), self.files.locate(pair.image), self.pixels)
        return image, self.load_mask(index, (image.shape[1], image.shape[2]))

    def load_mask(self, index: int, size: tuple[int, int]) -> tv_tensors.Mask:
        """Return a mask, uint8 or int16 [H, W], for an image of the given height and width; errors as `load`."""
        pair = self.pairs[index]
        mask = self.read_mask(self.files.read(pair.mask), self.files.locate(pair.mask))
        if size != mask.shape:
            raise DatasetError(
                f"the mask {self.files.locate(pair.mask)} is {_size(mask.shape)}, but its image "
                f"{self.files.locate(pair.image)} is {_size(size)} (width × height, upright): "
                "save both at the same size and orientation"
            )
        return mask


def benchmark_files(benchmark: Benchmark, root: Path | None, split: str) -> PairedFiles:
    """Open the files of one split of a benchmark.

    Parameters
    ----------
    benchmark : Benchmark
        The description.
    root : Path or None
        Folder or archive of the official download.
    split : str
        A name among `benchmark.splits`.

    Raises
    ------
    DatasetError
        When the split is unknown, the root is missing or is not the benchmark's, or files are missing.
    """
    if root is None:
        raise DatasetError(
            f"{benchmark.title} needs the folder or archive of the official download: "
            "give it as --data-root (data.root in the recipe)"
        )
    if split not in benchmark.splits:
        raise DatasetError(
            f"{benchmark.title} has no split {split!r}.{nearest(split, benchmark.splits)} "
            f"It has: {', '.join(benchmark.splits)}."
        )
    parts = _parts(benchmark, split)
    files = open_files(root, [mark for part in parts for mark in _landmarks(part)])
    pairs = [pair for part in parts for pair in _pairs(files, part)]
    if not pairs:
        raise DatasetError(f"{root} holds no images for the split {split!r} of {benchmark.title}: is it complete?")
    _check_present(files, [pair.image for pair in pairs], "images")
    _check_present(files, [pair.mask for pair in pairs], "masks")
    return PairedFiles(files, pairs, mask_reader(benchmark))


def _parts(benchmark: Benchmark, split: str) -> list[Split]:
    part = benchmark.splits[split]
    return [part] if isinstance(part, Split) else [piece for name in part for piece in _parts(benchmark, name)]


def _landmarks(part: Split) -> list[str]:
    marks = [fixed_folder(part.images), fixed_folder(part.masks)]
    return [*marks, part.ids] if part.ids else marks


def fixed_folder(pattern: str) -> str:
    """Return the folder of a pattern such as "JPEGImages/{id}.jpg" that does not depend on the id."""
    return pattern.split("{id}", 1)[0].rpartition("/")[0]


def _pairs(files: Files, part: Split) -> list[Pair]:
    ids = _listed_ids(files, part, part.ids) if part.ids else _found_ids(files, part)
    return [Pair(id, part.images.format(id=id), part.masks.format(id=id)) for id in ids]


def _found_ids(files: Files, part: Split) -> list[str]:
    matches = (_pattern(part.images).fullmatch(name) for name in files.below(fixed_folder(part.images)))
    return [match["id"] for match in matches if match]


def _listed_ids(files: Files, part: Split, listing: str) -> list[str]:
    pattern = re.compile(r"(?:.*/)?" + _pattern(part.images).pattern)
    lines = files.read(listing).decode("utf-8", errors="replace").splitlines()
    columns = [line.split()[0] for line in lines if line.strip()]
    return [match["id"] if (match := pattern.fullmatch(column)) else column for column in columns]


def _pattern(template: str) -> re.Pattern[str]:
    before, after = template.split("{id}")
    return re.compile(f"{re.escape(before)}(?P<id>.+){re.escape(after)}")


def _check_present(files: Files, names: Sequence[str], what: str) -> None:
    folders = {str(PurePosixPath(name).parent) for name in names}
    present = {name for folder in folders for name in files.below("" if folder == "." else folder)}
    missing = [name for name in names if name not in present]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(names)} {what} are missing, such as {files.locate(missing[0])}: "
            "is the download complete?"
        )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}×{shape[0]}"
