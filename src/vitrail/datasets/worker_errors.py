"""Pass errors from the workers of a DataLoader to the main process.

An exception raised in a worker would arrive wrapped in a traceback, so a `VitrailError` is returned as a value instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from vitrail.datasets.dataset import SegmentationDataset
from vitrail.datasets.sampler import SampleKey
from vitrail.errors import VitrailError


class ErrorsAsValues(Dataset[Any]):
    """Dataset that returns a `VitrailError` instead of raising it."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any] | VitrailError:
        try:
            return self.dataset[key]
        except VitrailError as error:
            return error


def collate_or_error(
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]], samples: Sequence[dict[str, Any] | VitrailError]
) -> dict[str, Any] | VitrailError:
    """Return the batch that `collate` builds from the samples, or the first error among them."""
    found: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, VitrailError):
            return sample
        found.append(sample)
    try:
        return collate(found)
    except VitrailError as error:
        return error
