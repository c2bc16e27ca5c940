"""Samplers: which image comes when, and with which random seed, as a pure function of seed and position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from vitrail.errors import DatasetError


class SampleKey(NamedTuple):
    """One element of the training stream: the index of an image, and the seed of all its random transforms."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    seed: int


class TrainSampler(Sampler[list[SampleKey]]):
    """An endless stream of training batches that can start anywhere.

    Each epoch is a permutation of the dataset, cut into global batches; an incomplete last batch is dropped. Keys
    depend only on `seed` and the position in the stream, so the samples are the same for any number of workers,
    processes and interruptions.

    Parameters
    ----------
    length : int
        Number of images in the dataset.
    batch_size : int
        Size of the global batch, over all processes.
    seed : int
        Seed of the stream.
    rank, world_size : int
        This process and the number of processes; each takes `batch_size / world_size` of every batch.
    start : int
        The iteration (batch number, from 0) to start at.

    Raises
    ------
    DatasetError
        When the batch is larger than the dataset or not a multiple of the number of processes.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, start: int = 0
    ) -> None:
        if batch_size > length:
            raise DatasetError(
                f"a batch of {batch_size} images is larger than the dataset of {length}: "
                f"lower train.batch_size to {length} or less"
            )
        if batch_size % world_size:
            raise DatasetError(
                f"train.batch_size={batch_size} is the batch of all processes together, "
                f"and must be a multiple of their number, {world_size}"
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one pass over the dataset."""
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        share = self.batch_size // self.world_size
        epoch, first = divmod(self.start, self.batches_per_epoch)
        while True:
            order, seeds = self._epoch(epoch)
            for batch in range(first, self.batches_per_epoch):
                begin = batch * self.batch_size + self.rank * share
                yield [SampleKey(order[i], seeds[i]) for i in range(begin, begin + share)]
            epoch, first = epoch + 1, 0

    def _epoch(self, epoch: int) -> tuple[list[int], list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.length,), generator=generator).tolist()
        return order, seeds


class EvalSampler(Sampler[int]):
    """Each image exactly once over all processes: process `rank` takes `rank`, `rank + world_size`, …"""

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
