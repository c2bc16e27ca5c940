"""Looking over a dataset before anything is trained on it, and writing any dataset as a plain folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.datasets import BENCHMARKS, IGNORE, SegmentationDataset, create_dataset, list_datasets
from vitrail.datasets.dataset import DATASETS
from vitrail.errors import DatasetError
from vitrail.files.yaml_file import dump_yaml
from vitrail.runtime.progress_bar import ProgressBar
from vitrail.visualize import class_counts, index_mask


@dataclass(frozen=True)
class DatasetCheck:
    """What is in one split of a dataset.

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
        Number of images that hold each class.
    ignored : int
        Number of pixels that are not judged.
    smallest, largest : (int, int)
        Height and width of the images with the fewest and the most pixels.
    errors : tuple of str
        What is wrong, one message for each image that cannot be used.
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
        """Return a table of the classes: share of the labelled pixels, and the number of images that hold them."""
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


def describe_datasets() -> dict[str, str]:
    """Return what each dataset is, in one line, by name."""
    lines = {}
    for name in list_datasets():
        if name in BENCHMARKS:
            benchmark = BENCHMARKS[name]
            lines[name] = f"{benchmark.title}, {len(benchmark.classes)} classes"
        else:
            lines[name] = (DATASETS[name].__doc__ or "").strip().split("\n")[0]
    return lines


def check_dataset(
    name: str, root: str | Path | None, split: str, *, options: dict[str, Any] | None = None
) -> DatasetCheck:
    """Read every image and mask of a split and count what is in them.

    Parameters
    ----------
    name : str
        One of `vitrail.list_datasets()`.
    root : path or None
        Where the dataset lies; None for a built-in one.
    split : str
        Such as "train".
    options : dict, optional
        Further arguments of the dataset.

    Returns
    -------
    DatasetCheck
        Images that cannot be used stand in its `errors`, and nowhere else.

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
    with ProgressBar(f"check {split}", total=len(dataset)) as bar:
        for index in range(len(dataset)):
            bar.advance(1)
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


def export_dataset(
    name: str,
    root: str | Path | None,
    splits: Sequence[str],
    output_dir: str | Path,
    *,
    limit: int | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Write splits of a dataset as a folder that the dataset "folder" reads.

    Images go to `images/<split>/<id>.png`, masks of class indices in the classes' colours to `masks/<split>/<id>.png`,
    names and colours to `classes.yaml`.

    Parameters
    ----------
    name, root, options
        As in `check_dataset`.
    splits : sequence of str
        Which splits.
    output_dir : path
        The folder; a new or an empty one.
    limit : int, optional
        Write only so many images of each split.

    Returns
    -------
    dict
        The number of images written, by split.

    Raises
    ------
    DatasetError
        When the dataset is unusable, or `output_dir` is not empty or cannot be written.
    """
    folder = Path(output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is not an empty folder: choose another one to write to")
    opened = {split: create_dataset(name, root, split, **(options or {})) for split in splits}
    try:
        for split, dataset in opened.items():
            _write_split(dataset, split, folder, limit)
        benchmark = next(iter(opened.values())).benchmark
        described = {"classes": list(benchmark.classes), "palette": [list(colour) for colour in benchmark.palette]}
        (folder / "classes.yaml").write_text(dump_yaml(described), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error}") from error
    return {split: len(dataset) if limit is None else min(limit, len(dataset)) for split, dataset in opened.items()}


def _write_split(dataset: SegmentationDataset, split: str, folder: Path, limit: int | None) -> None:
    count = len(dataset) if limit is None else min(limit, len(dataset))
    with ProgressBar(f"write {split}", total=count) as bar:
        for index in range(count):
            sample = dataset[index]
            image = folder / "images" / split / f"{sample['id']}.png"
            mask = folder / "masks" / split / f"{sample['id']}.png"
            for path in (image, mask):
                if not path.resolve().is_relative_to(folder.resolve()):
                    raise DatasetError(f"image id {sample['id']!r} leads out of the folder {folder}")
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample["image"].permute(1, 2, 0).numpy()).save(image)
            index_mask(sample["mask"], dataset.benchmark.palette).save(mask)
            bar.advance(1)


def _span(smallest: tuple[int, int], largest: tuple[int, int]) -> str:
    first, last = (f"{size[0]}×{size[1]}" for size in (smallest, largest))
    return first if first == last else f"{first} to {last}"
