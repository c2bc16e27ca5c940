"""A source of images whose masks are drawn from shapes: polygons, boxes, bitmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.formats.json_file import as_described
from vitrail.datasets.formats.shapes import Mask
from vitrail.datasets.image_files import decode_image
from vitrail.datasets.pairs import Pair
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.sample_cache import CachedFiles
from vitrail.datasets.splits import complete_splits, pick_split
from vitrail.datasets.storage import Files, Folder
from vitrail.errors import DatasetError, nearest
from vitrail.labels import MAX_CLASSES, ignore_index, is_wide
from vitrail.visualize.palette import Colour, distinct_colours

BACKGROUND = "background"


class Shape(Protocol):
    """A part of an image."""

    def fill(self, mask: Mask, value: int) -> None:
        """Set the pixels of a mask [H, W] that the shape covers to a value."""


@dataclass(frozen=True)
class Labelled:
    """An image and what is drawn on it.

    Attributes
    ----------
    image : str
        The image file, below the root.
    annotation : str
        The file that describes its shapes.
    shapes : tuple of (str, Shape)
        Names of classes and their shapes; a later one covers earlier ones.
    """

    image: str
    annotation: str
    shapes: tuple[tuple[str, Shape], ...]


class DrawnMasks(CachedFiles):
    """Images in files, and masks that are drawn when they are asked for.

    Parameters
    ----------
    files : Files
        Storage of the images.
    images : sequence of Labelled
        The images with their shapes.
    values : mapping from str to int
        Class index of each name; the ignored label ignores what a shape covers.
    rest : int
        What no shape covers: a class index, or the ignored label.
    num_classes : int
        K, which decides the type of the masks; see `vitrail.labels`.
    """

    def __init__(
        self, files: Files, images: Sequence[Labelled], values: Mapping[str, int], rest: int, num_classes: int
    ) -> None:
        self.files = files
        self.images = images
        self.values = dict(values)
        self.rest = rest
        self.dtype = np.int16 if is_wide(num_classes) else np.uint8
        self.pixels: PixelFormat = RGB
        self.pairs = [Pair(_without_suffix(each.image), each.image, each.annotation) for each in images]
        self.ids = [pair.id for pair in self.pairs]

    @property
    def settings(self) -> str:
        """What the masks depend on besides the files."""
        return f"{sorted(self.values.items())} {self.rest}"

    def _decode(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        name = self.images[index].image
        image = decode_image(self.files.read(name), self.files.locate(name), self.pixels)
        return image, self.load_mask(index, (image.shape[1], image.shape[2]))

    def load_mask(self, index: int, size: tuple[int, int]) -> tv_tensors.Mask:
        """Return the mask of an image of the given height and width."""
        mask: Mask = np.full(size, self.rest, self.dtype)
        with as_described(self.files.locate(self.images[index].annotation)):
            for name, shape in self.images[index].shapes:
                self._fill(index, shape, mask, self.values[name])
        return tv_tensors.Mask(torch.from_numpy(mask))

    def _fill(self, index: int, shape: Shape, mask: Mask, value: int) -> None:
        try:
            shape.fill(mask, value)
        except DatasetError as error:
            raise DatasetError(f"{self.files.locate(self.images[index].image)}: {error}") from error


def drawn_dataset(
    name: str,
    root: Path,
    images: Mapping[str, Sequence[Labelled]],
    split: str,
    *,
    background: str | None,
    classes: Sequence[str] = (),
    colours: Mapping[str, Colour | None] | None = None,
    val_fraction: float | None = None,
    split_seed: int = 0,
) -> tuple[Benchmark, DrawnMasks]:
    """Return the description and the source of one split of images with shapes.

    Parameters
    ----------
    name : str
        The dataset's name.
    root : Path
        Its folder.
    images : mapping from str to sequence of Labelled
        By split; see `complete_splits` for what is split at random.
    split : str
        The one to open.
    background : str or None
        Name of the class of what no shape covers, the first class unless it is among `classes`; None ignores it.
    classes : sequence of str
        Names of the classes, in their order; empty takes those of the shapes, in alphabetical order.
    colours : mapping, optional
        Of classes; those without one get a colour of their own.
    val_fraction, split_seed
        Of the random split; see `splits.complete_splits`.

    Raises
    ------
    DatasetError
        When there are no images or no such split.
    """
    if not any(images.values()):
        raise DatasetError(f"{root} holds no images of the format {name!r}")
    splits = complete_splits(images, val_fraction, split_seed)
    chosen = pick_split(root, splits, split)
    odd = [label for item in splits["all"] for label, _ in item.shapes if not isinstance(label, str)]
    odd += [label for label in classes if not isinstance(label, str)]
    if odd:
        raise DatasetError(f"{root}: {str(odd[0])[:100]} is no name of a class: export the annotations anew")
    used = {label for item in splits["all"] for label, _ in item.shapes}
    names = list(classes) or sorted(used)
    unknown = sorted(used - set(names))
    if unknown:
        raise DatasetError(
            f"{root}: the label {unknown[0]!r} is no class.{nearest(unknown[0], names)} "
            f"The classes are: {', '.join(names)}"
        )
    if background is not None and background not in names:
        names.insert(0, background)
    if len(names) > MAX_CLASSES:
        raise DatasetError(f"{root} has {len(names)} classes, but there can be {MAX_CLASSES} at most")
    values = {label: index for index, label in enumerate(names)}
    rest = ignore_index(len(names)) if background is None else values[background]
    palette = list(distinct_colours(len(names)))
    for label, colour in (colours or {}).items():
        if label in values and colour is not None:
            palette[values[label]] = colour
    benchmark = Benchmark(name, root.resolve().name, tuple(names), tuple(palette), splits={})
    return benchmark, DrawnMasks(Folder(root), chosen, values, rest, len(names))


def wanted_root(root: Path | None, name: str) -> Path:
    """Return the root of a dataset, or raise a DatasetError when it is none."""
    if root is None or not root.is_dir():
        raise DatasetError(
            f"the dataset {name!r} needs its folder: set --data-root (data.root in the recipe), not {root}"
        )
    return root


def _without_suffix(name: str) -> str:
    head, slash, tail = name.rpartition("/")
    return head + slash + (tail.rpartition(".")[0] or tail)
