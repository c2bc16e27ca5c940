"""Passing a user's mistake from a loader process to the main process as a value.

An exception raised in a worker of a DataLoader would arrive wrapped in a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from vitrail.datasets.dataset import SegmentationDataset
from vitrail.datasets.sampler import SampleKey
from vitrail.errors import VitrailError


class ErrorsAsValues(Dataset[Any]):
    """Passes a user's mistake from a worker on as a value: raised there, it would arrive wrapped in a traceback."""

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
    """Return the batch that `collate` makes of the samples, or the first error among them."""
    found: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, VitrailError):
            return sample
        found.append(sample)
    try:
        return collate(found)
    except VitrailError as error:
        return error
