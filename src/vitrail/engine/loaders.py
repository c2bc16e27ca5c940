"""From the data section of a recipe to batches on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitrail.datasets import (
    Draw,
    EvalSampler,
    SegmentationDataset,
    TrainSampler,
    collate_eval,
    collate_train,
    create_dataset,
)
from vitrail.errors import VitrailError
from vitrail.parallel import rank, world_size
from vitrail.recipes import DataConfig, Recipe
from vitrail.transforms import EvalTransform, TrainTransform


def training_dataset(data: DataConfig) -> SegmentationDataset:
    """Open the training split with the recipe's augmentation."""
    dataset = create_dataset(data.dataset, data.root, data.train_split, **data.options)
    augment = data.augment
    dataset.transform = TrainTransform(
        base_size=augment.resize.size if augment.resize else None,
        keep_ratio=augment.resize.keep_ratio if augment.resize else True,
        scale=augment.scale,
        crop=augment.crop,
        max_class_share=augment.max_class_share,
        flip=augment.flip,
        flip_pairs=dataset.benchmark.flip_pairs,
        rotate_degrees=augment.rotate_degrees,
        rotate=augment.rotate,
        photometric=augment.photometric,
        fill=_rounded(data.mean),
    )
    return dataset


def evaluation_dataset(
    data: DataConfig, *, root: str | Path | None = None, split: str | None = None
) -> SegmentationDataset:
    """Open the evaluation split with the recipe's test-time resize; None takes the recipe's root and split."""
    resize = data.eval_resize
    transform = EvalTransform(size=resize.size if resize else None, keep_ratio=resize.keep_ratio if resize else True)
    return create_dataset(
        data.dataset,
        data.root if root is None else root,
        data.eval_split if split is None else split,
        transform=transform,
        **data.options,
    )


def training_loader(
    dataset: SegmentationDataset, recipe: Recipe, *, start: int, device: torch.device
) -> DataLoader[Any]:
    """Return this process's endless share of the training stream, from iteration `start` (counted from 0).

    The samples depend on `train.seed` and the iteration alone: neither on the number of workers or processes nor on
    torch's global random state, which the loader does not touch.

    Raises
    ------
    DatasetError
        When a batch is larger than the dataset, or cannot be shared equally by the processes.
    """
    train = recipe.train
    sampler = TrainSampler(
        len(dataset), train.batch_size, seed=train.seed, rank=rank(), world_size=world_size(), start=start
    )
    return DataLoader(
        _ErrorsAsValues(dataset),
        batch_sampler=sampler,
        num_workers=recipe.data.workers,
        collate_fn=functools.partial(_collate, collate_train),
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(train.seed),
    )


def batches_on(device: torch.device, loader: DataLoader[Any]) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield images [B, 3, H, W] and masks [B, H, W], uint8, on the device; raise what went wrong in a worker."""
    for batch in loader:
        if isinstance(batch, VitrailError):
            raise batch
        yield batch["image"].to(device, non_blocking=True), batch["mask"].to(device, non_blocking=True)


def evaluation_samples(
    dataset: SegmentationDataset, *, workers: int, batch_size: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yield this process's share of the samples, each once, in order; raise what went wrong in a worker.

    Parameters
    ----------
    dataset : SegmentationDataset
        Opened with an `EvalTransform`.
    workers : int
        Processes that load; 0 loads here.
    batch_size : int
        How many samples will be wanted at a time; the workers keep twice as many ready.
    device : torch.device
        Where the samples will go.
    """
    loader = DataLoader(
        _ErrorsAsValues(dataset),
        batch_size=1,
        sampler=EvalSampler(len(dataset), rank=rank(), world_size=world_size()),
        collate_fn=functools.partial(_collate, collate_eval),
        num_workers=workers,
        prefetch_factor=max(2, -(-2 * batch_size // workers)) if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # the default draws the workers' seeds from the global one
    )
    for batch in loader:
        if isinstance(batch, VitrailError):
            raise batch
        yield {key: values[0] for key, values in batch.items()}


class _ErrorsAsValues(Dataset[Any]):
    """Passes a user's mistake from a worker on as a value: raised there, it would arrive wrapped in a traceback."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: int | Draw) -> dict[str, Any] | VitrailError:
        try:
            return self.dataset[key]
        except VitrailError as error:
            return error


def _collate(
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]], samples: Sequence[dict[str, Any] | VitrailError]
) -> dict[str, Any] | VitrailError:
    found: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, VitrailError):
            return sample
        found.append(sample)
    try:
        return collate(found)
    except VitrailError as error:
        return error


def _rounded(mean: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (round(value) for value in mean)
    return red, green, blue
