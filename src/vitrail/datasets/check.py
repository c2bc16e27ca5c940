"""Checking a dataset before training: every file read, pixels counted by class, errors collected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vitrail.datasets.dataset import create_dataset
from vitrail.errors import DatasetError
from vitrail.labels import IGNORE
from vitrail.visualize import class_counts


@dataclass(frozen=True)
class DatasetCheck:
    """The contents of one split of a dataset.

    Attributes
    ----------
    dataset, split : str
        Their names.
    classes : tuple of str
        Class names.
    images : int
        Number of images.
    pixels : tuple of int
        Number of pixels of each class, over the images that could be read.
    found_in : tuple of int
        Number of images that contain each class.
    ignored : int
        Number of ignored pixels.
    smallest, largest : (int, int)
        Height and width of the images with the fewest and the most pixels.
    errors : tuple of str
        One message for each image that cannot be used.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    images: int
    pixels: tuple[int, ...]
    found_in: tuple[int, ...]
    ignored: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    errors: tuple[str, ...]

    def table(self) -> str:
        """Return a table of the classes: share of the labelled pixels, and number of images that contain each."""
        total = sum(self.pixels)
        width = max(len(name) for name in (*self.classes, "class"))
        lines = [f"{self.dataset} {self.split}: {self.images} images, {_span(self.smallest, self.largest)}"]
        lines.append(f"{'class':<{width}}   pixels   images")
        for name, pixels, found in zip(self.classes, self.pixels, self.found_in, strict=True):
            lines.append(f"{name:<{width}} {pixels / max(total, 1):8.2%} {found:8d}")
        lines.append(f"ignored: {self.ignored / max(total + self.ignored, 1):.2%} of all pixels")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON-ready data."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "smallest": list(self.smallest),
            "largest": list(self.largest),
            "ignored": self.ignored,
            "classes": [
                {"name": name, "pixels": pixels, "images": found}
                for name, pixels, found in zip(self.classes, self.pixels, self.found_in, strict=True)
            ],
            "errors": list(self.errors),
        }


def check_dataset(
    name: str, root: str | Path | None, split: str, *, options: dict[str, Any] | None = None
) -> DatasetCheck:
    """Read every image and mask of a split and count the pixels of each class.

    Parameters
    ----------
    name : str
        One of `vitrail.list_datasets()`.
    root : path or None
        The dataset's folder or archive; None for a dataset without files.
    split : str
        Such as "train".
    options : dict, optional
        Keyword arguments of the dataset's builder.

    Returns
    -------
    DatasetCheck
        Images that cannot be used are in its `errors` and in no count.

    Raises
    ------
    DatasetError
        When the dataset cannot be opened at all.
    """
    dataset = create_dataset(name, root, split, **(options or {}))
    classes = dataset.benchmark.classes
    pixels, found_in = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    sizes: list[tuple[int, int]] = []
    ignored, errors = 0, []
    for index in tqdm(range(len(dataset)), desc=f"check {split}", unit="img", disable=None, leave=False):
        try:
            mask = np.asarray(dataset[index]["mask"])
            counts = np.asarray(class_counts(mask, len(classes)))
        except DatasetError as error:
            errors.append(str(error))
            continue
        pixels += counts
        found_in += counts > 0
        ignored += int((mask == IGNORE).sum())
        sizes.append((mask.shape[0], mask.shape[1]))
    sizes.sort(key=lambda size: size[0] * size[1])
    return DatasetCheck(
        dataset=name,
        split=split,
        classes=tuple(classes),
        images=len(dataset),
        pixels=tuple(pixels.tolist()),
        found_in=tuple(found_in.tolist()),
        ignored=ignored,
        smallest=sizes[0] if sizes else (0, 0),
        largest=sizes[-1] if sizes else (0, 0),
        errors=tuple(errors),
    )


def _span(smallest: tuple[int, int], largest: tuple[int, int]) -> str:
    first, last = (f"{size[0]}×{size[1]}" for size in (smallest, largest))
    return first if first == last else f"{first} to {last}"
