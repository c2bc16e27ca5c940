"""Samplers: which image comes when, and with which random seed, as a pure function of seed and position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from vitrail.errors import DatasetError


class SampleKey(NamedTuple):
    """One element of the training stream.

    Attributes
    ----------
    index : int
        The image.
    seed : int
        The seed of all its random transforms.
    label : int or None
        The class for which the image was drawn: its crop contains it.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which is not used
    seed: int
    label: int | None = None


class ClassSampling:
    """Draws images by the frequency of their classes: a class first, then one of the images that contain it.

    Class c is drawn with a probability in proportion to `exp((1 - f_c) / T)`, where `f_c` is its share of the labelled
    pixels; classes without a pixel are not drawn.

    Parameters
    ----------
    pixels : Tensor [K]
        Labelled pixels of each class in the training data.
    images : sequence of sequence of int
        For each class the images that contain it.
    probability : float
        Share of the samples that are drawn so, 0…1.
    temperature : float
        T: the lower, the more often rare classes come.

    References
    ----------
    Hoyer, Dai and Van Gool, "DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive
    Semantic Segmentation", CVPR 2022, arXiv:2111.14887, equations 3 and 4.
    """

    def __init__(
        self, pixels: Tensor, images: Sequence[Sequence[int]], *, probability: float, temperature: float
    ) -> None:
        share = pixels.double() / pixels.sum()
        logits = ((1 - share) / temperature).masked_fill(pixels == 0, -torch.inf)
        self.shares = logits.softmax(dim=0)
        self.images = [torch.tensor(found, dtype=torch.long) for found in images]
        self.probability = probability

    def replaced(self, keys: Sequence[SampleKey], generator: torch.Generator) -> list[SampleKey]:
        """Return the samples of an epoch with a part of them drawn anew."""
        chosen = torch.rand(len(keys), generator=generator) < self.probability
        labels = torch.multinomial(self.shares, len(keys), replacement=True, generator=generator)
        positions = torch.rand(len(keys), generator=generator, dtype=torch.float64)
        drawn = []
        for key, is_chosen, label, position in zip(
            keys, chosen.tolist(), labels.tolist(), positions.tolist(), strict=True
        ):
            images = self.images[label]
            index = int(images[int(position * len(images))])
            drawn.append(SampleKey(index, key.seed, label) if is_chosen else key)
        return drawn


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
    class_sampling : ClassSampling, optional
        Draws images by the frequency of their classes, in place of a part or all of each permutation.

    Raises
    ------
    DatasetError
        When the batch is larger than the dataset or not a multiple of the number of processes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        class_sampling: ClassSampling | None = None,
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
        self.class_sampling = class_sampling

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one pass over the dataset."""
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        share = self.batch_size // self.world_size
        epoch, first = divmod(self.start, self.batches_per_epoch)
        while True:
            keys = self._epoch(epoch)
            for batch in range(first, self.batches_per_epoch):
                begin = batch * self.batch_size + self.rank * share
                yield keys[begin : begin + share]
            epoch, first = epoch + 1, 0

    def _epoch(self, epoch: int) -> list[SampleKey]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.length,), generator=generator).tolist()
        keys = list(itertools.starmap(SampleKey, zip(order, seeds, strict=True)))
        return keys if self.class_sampling is None else self.class_sampling.replaced(keys, generator)


class EvalSampler(Sampler[int]):
    """Each image exactly once over all processes: process `rank` takes `rank`, `rank + world_size`, …"""

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
