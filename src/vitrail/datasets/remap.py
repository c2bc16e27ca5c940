"""Renaming, merging and ignoring the classes of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import SegmentationDataset, Source
from vitrail.errors import DatasetError, nearest
from vitrail.labels import ignore_index, is_wide


class RemappedSource:
    """A source whose class indices are replaced.

    Parameters
    ----------
    source : Source
        The images with their masks.
    table : Tensor
        uint8 or int16: the new index of each value of a mask; the last entry is that of what is ignored, 255 or -1.
    """

    def __init__(self, source: Source, table: Tensor) -> None:
        self.source = source
        self.table = table
        self.ids = source.ids

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [C, H, W], and mask, uint8 or int16 [H, W]."""
        image, mask = self.source.load(index)
        return image, tv_tensors.Mask(self.table[mask.as_subclass(Tensor).long()])


def remap_classes(dataset: SegmentationDataset, names: Mapping[str, str | None]) -> SegmentationDataset:
    """Return a dataset with other classes; see `remap_benchmark`."""
    if not names:
        return dataset
    benchmark, table = remap_benchmark(dataset.benchmark, names)
    return SegmentationDataset(benchmark, RemappedSource(dataset.source, table), dataset.transform)


def remap_benchmark(old: Benchmark, names: Mapping[str, str | None]) -> tuple[Benchmark, Tensor]:
    """Return the description of a dataset with other classes, and the table that `RemappedSource` takes.

    Parameters
    ----------
    old : Benchmark
        The description.
    names : mapping from str to str or None
        From the name of a class to its new name; classes of one new name are merged, and None ignores the class.
        Classes that are not listed stay. The order is that of the first class of each name.

    Raises
    ------
    DatasetError
        For a class that the dataset does not have, or when no class is left.
    """
    unknown = [name for name in names if name not in old.classes]
    if unknown:
        raise DatasetError(
            f"data.classes names {unknown[0]!r}, which is no class of {old.title}.{nearest(unknown[0], old.classes)} "
            f"Its classes are: {', '.join(old.classes)}"
        )
    targets = [names.get(name, name) for name in old.classes]
    classes = tuple(dict.fromkeys(name for name in targets if name is not None))
    if not classes:
        raise DatasetError("data.classes ignores every class of the dataset: keep one")
    ignored, dtype = ignore_index(len(classes)), torch.int16 if is_wide(len(classes)) else torch.uint8
    table = torch.full((len(old.classes) + 1 if is_wide(len(old.classes)) else 256,), ignored, dtype=dtype)
    for index, name in enumerate(targets):
        if name is not None:
            table[index] = classes.index(name)
    pairs = {(int(table[left]), int(table[right])) for left, right in old.flip_pairs}
    benchmark = replace(
        old,
        classes=classes,
        palette=tuple(old.palette[targets.index(name)] for name in classes),
        labels=None,
        flip_pairs=tuple(sorted(pair for pair in pairs if ignored not in pair and pair[0] != pair[1])),
    )
    return benchmark, table
