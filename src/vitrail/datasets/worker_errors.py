"""Pass errors from the workers of a DataLoader to the main process.

An exception raised in a worker would arrive wrapped in a traceback, so a `VitrailError` is returned as a value instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset

from vitrail.datasets.dataset import SegmentationDataset
from vitrail.datasets.sampler import SampleKey
from vitrail.errors import DatasetError, VitrailError


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


@contextlib.contextmanager
def explain_dead_workers(*, reading: bool = False) -> Iterator[None]:
    """Explain the error about a loader process that was killed from outside.

    Parameters
    ----------
    reading : bool
        Whether the block does nothing but read from a loader, so that a broken connection is the same error.

    Raises
    ------
    DatasetError
        In place of PyTorch's RuntimeError, and of a ConnectionError where the block is reading.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if "DataLoader worker" not in str(error) and (not reading or isinstance(error, RuntimeError)):
            raise
        raise DatasetError(
            f"a process that loads images ended ({error or type(error).__name__}). The memory of the machine, or the "
            "shared memory (/dev/shm) of a container, may be too small: lower data.workers (0 uses no processes) or "
            "train.batch_size, or give the container more with --shm-size. A training goes on from its last "
            "checkpoint with --resume"
        ) from error


def loaded(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader; a loader process that was killed ends in a `DatasetError`."""
    batches = iter(loader)
    while True:
        with explain_dead_workers(reading=True):
            batch = next(batches, _END)
        if batch is _END:
            return
        yield batch


_END = object()
