"""Checking a dataset before training: every file read, pixels counted by class, what is wrong collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vitrail.datasets.dataset import SegmentationDataset, create_dataset
from vitrail.datasets.doctor import Finding, SplitSurvey, examine, in_files, survey
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.errors import DatasetError
from vitrail.files.printable import printable
from vitrail.labels import ignore_index
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

    @classmethod
    def of(cls, dataset: str, survey: SplitSurvey) -> DatasetCheck:
        """Return the contents of a split that was surveyed."""
        usable = survey.usable
        sizes = sorted((facts.size for facts in usable), key=lambda size: size[0] * size[1])
        columns = list(zip(*(facts.counts for facts in usable), strict=True))
        found_in = tuple(sum(count > 0 for count in column) for column in columns)
        return cls(
            dataset=dataset,
            split=survey.split,
            classes=tuple(survey.benchmark.classes),
            images=len(survey.facts),
            pixels=tuple(survey.counts),
            found_in=found_in or tuple(0 for _ in survey.benchmark.classes),
            ignored=survey.ignored,
            smallest=sizes[0] if sizes else (0, 0),
            largest=sizes[-1] if sizes else (0, 0),
            errors=tuple(facts.error for facts in survey.facts if facts.error),
        )

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


@dataclass(frozen=True)
class DatasetReport:
    """The contents of several splits of a dataset, and what is wrong with them.

    Attributes
    ----------
    checks : tuple of DatasetCheck
        One for each split.
    findings : tuple of Finding
        The gravest first; empty for a dataset that has no files.
    surveys : tuple of SplitSurvey
        What is known of each file; empty for a dataset that has no files.
    """

    checks: tuple[DatasetCheck, ...]
    findings: tuple[Finding, ...]
    surveys: tuple[SplitSurvey, ...]


def check_dataset(
    name: str,
    root: str | Path | None,
    splits: Sequence[str],
    *,
    options: dict[str, Any] | None = None,
    pixels: PixelFormat = RGB,
) -> DatasetReport:
    """Read every image and mask of the splits of a dataset, count the pixels of each class and look for what is wrong.

    Parameters
    ----------
    name : str
        One of `vitrail.list_datasets()`.
    root : path or None
        The dataset's folder or archive; None for a dataset without files.
    splits : sequence of str
        Such as "train" and "val", that of training first.
    options : dict, optional
        Keyword arguments of the dataset's builder.
    pixels : PixelFormat
        The channels and the range of values of the images.

    Returns
    -------
    DatasetReport
        Images that cannot be used are in its findings and in no count.

    Raises
    ------
    DatasetError
        When the dataset cannot be opened at all.
    """
    opened = {split: create_dataset(name, root, split, pixels=pixels, **(options or {})) for split in splits}
    if not all(map(in_files, opened.values())):
        return DatasetReport(tuple(_counted(name, split, dataset) for split, dataset in opened.items()), (), ())
    surveys = []
    for split, dataset in opened.items():
        with _bar(split, len(dataset)) as bar:
            surveys.append(survey(dataset, split, decode_images=True, advance=bar.update))
    return DatasetReport(tuple(DatasetCheck.of(name, s) for s in surveys), tuple(examine(surveys)), tuple(surveys))


def _bar(split: str, total: int) -> tqdm[Any]:
    return tqdm(total=total, desc=printable(f"check {split}"), unit="img", disable=None, leave=False)


def _counted(name: str, split: str, dataset: SegmentationDataset) -> DatasetCheck:
    """Return the contents of a split whose images are made when they are asked for."""
    classes = dataset.benchmark.classes
    pixels, found_in = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    sizes: list[tuple[int, int]] = []
    ignored, errors = 0, []
    with _bar(split, len(dataset)) as bar:
        for index in range(len(dataset)):
            bar.update(1)
            try:
                mask = np.asarray(dataset[index]["mask"])
            except DatasetError as error:
                errors.append(str(error))
                continue
            counts = np.asarray(class_counts(mask, len(classes)))
            pixels, found_in = pixels + counts, found_in + (counts > 0)
            ignored += int((mask == ignore_index(len(classes))).sum())
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
