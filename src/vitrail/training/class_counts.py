"""Classes in the training masks, counted once for class weights and class sampling."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from vitrail.datasets import ClassSampling, SegmentationDataset
from vitrail.datasets.worker_errors import ErrorsAsValues, loaded, process_options
from vitrail.errors import TrainingError, VitrailError
from vitrail.files.atomic import atomic_path
from vitrail.recipes import DataConfig
from vitrail.visualize import class_counts

_CACHE = "class_counts.json"


@dataclass(frozen=True)
class ClassCounts:
    """The contents of the training masks.

    Attributes
    ----------
    pixels : tuple of int
        Labelled pixels of each class.
    found_in : tuple of tuple of int
        For each class the indices of the images that contain it.
    """

    pixels: tuple[int, ...]
    found_in: tuple[tuple[int, ...], ...]

    @property
    def images(self) -> tuple[int, ...]:
        """The number of images that contain each class."""
        return tuple(len(found) for found in self.found_in)


def count_classes(dataset: SegmentationDataset, workers: int = 0) -> ClassCounts:
    """Read every mask of a dataset and count pixels and images by class.

    Raises
    ------
    VitrailError
        For the first image that cannot be read.
    """
    classes = len(dataset.benchmark.classes)
    bare = SegmentationDataset(dataset.benchmark, dataset.source, _Counted(classes))
    pixels = np.zeros(classes, np.int64)
    found_in: list[list[int]] = [[] for _ in range(classes)]
    loader: DataLoader[Any] = DataLoader(
        ErrorsAsValues(bare),
        batch_size=None,
        sampler=range(len(bare)),
        **process_options(workers),
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # the default draws from the global one, and weights would depend on the cache
    )
    bar = tqdm(loaded(loader), desc="count classes", total=len(bare), unit="img", disable=None, leave=False)
    for index, sample in enumerate(bar):
        if isinstance(sample, VitrailError):
            raise sample
        pixels += sample["counts"]
        for label in np.flatnonzero(sample["counts"]).tolist():
            found_in[label].append(index)
    return ClassCounts(tuple(pixels.tolist()), tuple(map(tuple, found_in)))


def cached_counts(dataset: SegmentationDataset, folder: Path, workers: int) -> ClassCounts:
    """Return the counts of a dataset; they are kept in the output folder for a run that is resumed.

    Raises
    ------
    TrainingError
        When they cannot be written.
    VitrailError
        As `count_classes`.
    """
    path = folder / _CACHE
    about = [*dataset.benchmark.classes, *dataset.ids]
    key = hashlib.sha256("\n".join(about).encode(errors="surrogateescape")).hexdigest()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["images"] == key:
            return ClassCounts(tuple(kept["pixels"]), tuple(map(tuple, kept["found_in"])))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours
        pass
    counts = count_classes(dataset, workers)
    try:
        with atomic_path(path) as temporary:
            text = json.dumps({"images": key, "pixels": counts.pixels, "found_in": counts.found_in})
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error}") from error
    return counts


def class_sampling(data: DataConfig, dataset: SegmentationDataset, folder: Path) -> ClassSampling | None:
    """Return what `data.class_sampling` asks for, or None where it asks for nothing.

    Raises
    ------
    TrainingError
        When no training mask has a labelled pixel.
    VitrailError
        As `count_classes`.
    """
    settings = data.class_sampling
    if settings is None:
        return None
    counts = cached_counts(dataset, folder, data.workers)
    if not any(counts.pixels):
        raise TrainingError("data.class_sampling: no training mask has a labelled pixel; leave it out")
    return ClassSampling(
        torch.tensor(counts.pixels),
        counts.found_in,
        probability=settings.probability,
        temperature=settings.temperature,
    )


class _Counted:
    """Transform of a sample to the number of pixels of each class, which is all that leaves the worker."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        return {"counts": np.asarray(class_counts(np.asarray(sample["mask"]), self.classes))}


def _as_it_is(sample: Any) -> Any:
    return sample
