"""The image and mask files of a benchmark, found by its description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.image_files import decode_image
from vitrail.datasets.mask_files import MaskReader, mask_reader
from vitrail.datasets.open_files import open_files
from vitrail.datasets.pairs import ANYWHERE, Pair, find_pairs, fixed_folder
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.sample_cache import CachedFiles
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError, nearest
from vitrail.labels import IGNORE

OTHER_SIZE = "save both at the same size and orientation"  # what errors say that `--fix` can mend


class PairedFiles(CachedFiles):
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
    labelled : bool
        Whether every image has a mask; one that has none is ignored as a whole.
    """

    def __init__(self, files: Files, pairs: Sequence[Pair], read_mask: MaskReader) -> None:
        self.files = files
        self.pairs = pairs
        self.read_mask = read_mask
        self.pixels: PixelFormat = RGB
        self.ids = [pair.id for pair in pairs]
        self.labelled = all(pair.mask for pair in pairs)

    def _decode(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image = self.load_image(index)
        return image, self.load_mask(index, (image.shape[1], image.shape[2]))

    def load_image(self, index: int) -> tv_tensors.Image:
        """Return an image, uint8 [C, H, W]; errors as `load`."""
        pair = self.pairs[index]
        if not pair.second_image:
            return decode_image(self.files.read(pair.image), self.files.locate(pair.image), self.pixels)
        if self.pixels.channels % 2:
            raise DatasetError(
                f"{self.files.locate(pair.image)} is one of two images of a place, but the model takes "
                f"{self.pixels.channels} channels: set model.in_channels=6, with six values in data.mean and data.std"
            )
        pixels, names = self.pixels.halved, (pair.image, pair.second_image)
        first, second = (decode_image(self.files.read(name), self.files.locate(name), pixels) for name in names)
        if first.shape != second.shape:
            raise DatasetError(
                f"{self.files.locate(pair.image)} is {_size(first.shape[1:])}, but {self.files.locate(names[1])} is "
                f"{_size(second.shape[1:])}: images of one place should have one size"
            )
        return tv_tensors.Image(torch.cat((first, second)))

    def load_mask(self, index: int, size: tuple[int, int]) -> tv_tensors.Mask:
        """Return a mask, uint8 or int16 [H, W], for an image of the given height and width; errors as `load`."""
        pair = self.pairs[index]
        if not pair.mask:
            return tv_tensors.Mask(torch.full(size, IGNORE, dtype=torch.uint8))
        mask = self._read(pair.mask, pair, size)
        for name in pair.more_masks:
            upper = self._read(name, pair, size)
            mask = tv_tensors.Mask(torch.where(upper == 0, mask, upper))
        return mask

    def _read(self, name: str, pair: Pair, size: tuple[int, int]) -> tv_tensors.Mask:
        mask = self.read_mask(self.files.read(name), self.files.locate(name))
        if size != mask.shape:
            raise DatasetError(
                f"the mask {self.files.locate(name)} is {_size(mask.shape)}, but its image "
                f"{self.files.locate(pair.image)} is {_size(size)} (width × height, upright): "
                f"{OTHER_SIZE}, masks without smoothing"
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
    pairs = [pair for part in parts for pair in find_pairs(files, part)]
    if not pairs:
        raise DatasetError(f"{root} holds no images for the split {split!r} of {benchmark.title}: is it complete?")
    return PairedFiles(files, pairs, mask_reader(benchmark))


def _parts(benchmark: Benchmark, split: str) -> list[Split]:
    part = benchmark.splits[split]
    return [part] if isinstance(part, Split) else [piece for name in part for piece in _parts(benchmark, name)]


def _landmarks(part: Split) -> list[str]:
    patterns = [pattern for pattern in (part.images, part.second_images, part.masks) if pattern]
    marks = [fixed_folder(pattern) for pattern in patterns if not pattern.startswith(ANYWHERE)]
    return [*marks, part.ids] if isinstance(part.ids, str) else marks


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}×{shape[0]}"
