"""Evaluation data: one split of a dataset, and the samples of this process."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from vitrail.datasets import EvalSampler, SegmentationDataset, collate_eval
from vitrail.datasets.recipe import open_split
from vitrail.datasets.worker_errors import ErrorsAsValues, collate_or_error, loaded, process_options
from vitrail.errors import VitrailError
from vitrail.inference.shards import EVERYTHING, Shard
from vitrail.recipes import DataConfig
from vitrail.runtime.distributed import rank, world_size
from vitrail.transforms import EvalTransform


def evaluation_dataset(
    data: DataConfig, *, root: str | Path | None = None, split: str | None = None, unlabelled: bool = False
) -> SegmentationDataset:
    """Open the evaluation split with the recipe's test-time resize; None takes the recipe's root and split.

    With `unlabelled` also a split whose masks are not published.
    """
    transform = EvalTransform.from_config(data.eval_resize)
    split = data.eval_split if split is None else split
    return open_split(data, split, root=root, transform=transform, unlabelled=unlabelled)


def own_sampler(dataset: SegmentationDataset, shard: Shard) -> EvalSampler:
    """Return the sampler of this process: shard I of N has the images I, I + N, …; each process takes its share."""
    place = shard.index + shard.count * rank()
    return EvalSampler(len(dataset), rank=place, world_size=shard.count * world_size())


def evaluation_samples(
    dataset: SegmentationDataset, *, workers: int, batch_size: int, device: torch.device, shard: Shard = EVERYTHING
) -> Iterator[dict[str, Any]]:
    """Yield the samples of this process, each once and in order; an error in a worker process is raised here.

    Parameters
    ----------
    dataset : SegmentationDataset
        Opened with an `EvalTransform`.
    workers : int
        Number of processes that load samples; 0 loads them in this process.
    batch_size : int
        Number of samples that are used together; the workers keep twice as many ready.
    device : torch.device
        The device that the samples are for.
    shard : Shard
        The part of the dataset that all processes share.
    """
    loader = DataLoader(
        ErrorsAsValues(dataset),
        batch_size=1,
        sampler=own_sampler(dataset, shard),
        collate_fn=functools.partial(collate_or_error, collate_eval),
        **process_options(workers),
        prefetch_factor=max(2, -(-2 * batch_size // workers)) if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # the default draws the workers' seeds from the global one
    )
    for batch in loaded(loader):
        if isinstance(batch, VitrailError):
            raise batch
        yield {key: values[0] for key, values in batch.items()}
