"""Training data: the dataset with its augmentation, the loader, batches on the device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vitrail.datasets import ClassSampling, SegmentationDataset, TrainSampler, collate_train
from vitrail.datasets.recipe import open_split
from vitrail.datasets.worker_errors import ErrorsAsValues, collate_or_error, loaded, outlive_signals, process_options
from vitrail.errors import VitrailError
from vitrail.recipes import DataConfig, Recipe
from vitrail.runtime.distributed import rank, world_size
from vitrail.transforms import EvalTransform, TrainTransform


def training_dataset(data: DataConfig) -> SegmentationDataset:
    """Open the training split with the recipe's augmentation."""
    return with_augmentation(open_split(data, data.train_split), data)


def with_augmentation(dataset: SegmentationDataset, data: DataConfig) -> SegmentationDataset:
    """Return a dataset with the recipe's augmentation in place of its own transform."""
    benchmark = dataset.benchmark
    transform = TrainTransform(
        data.augment,
        flip_pairs=benchmark.flip_pairs,
        fill=_rounded(data.mean),
        source=dataset.source,
        class_names=benchmark.classes,
    )
    return SegmentationDataset(benchmark, dataset.source, transform)


def with_eval_resize(dataset: SegmentationDataset, data: DataConfig) -> SegmentationDataset:
    """Return a dataset with the recipe's test-time resize in place of its own transform."""
    transform = EvalTransform.from_config(data.eval_resize) if data.eval_resize else None
    return SegmentationDataset(dataset.benchmark, dataset.source, transform)


def training_loader(
    dataset: SegmentationDataset,
    recipe: Recipe,
    *,
    start: int,
    device: torch.device,
    class_sampling: ClassSampling | None = None,
) -> DataLoader[Any]:
    """Return a loader of this process's share of the batches, without end, from iteration `start` (counted from 0).

    The samples depend on `train.seed` and the iteration alone: neither on the number of workers or processes nor on
    torch's global random state, which the loader does not change.

    Raises
    ------
    DatasetError
        When a batch is larger than the dataset, or cannot be shared equally by the processes.
    """
    train = recipe.train
    sampler = TrainSampler(
        len(dataset),
        train.images_per_step,
        seed=train.seed,
        rank=rank(),
        world_size=world_size(),
        start=start,
        class_sampling=class_sampling,
    )
    return DataLoader(
        ErrorsAsValues(dataset),
        batch_sampler=sampler,
        **process_options(recipe.data.workers),
        worker_init_fn=outlive_signals,
        collate_fn=functools.partial(collate_or_error, collate_train),
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(train.seed),
    )


def batches_on(device: torch.device, loader: DataLoader[Any]) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield images [B, 3, H, W] and masks [B, H, W], uint8, on the device; raise errors of the data workers.

    On CUDA they are copied in a stream of their own, beside the computation of the step before.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for batch in loaded(loader):
        if isinstance(batch, VitrailError):
            raise batch
        with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
            images, masks = (batch[name].to(device, non_blocking=True) for name in ("image", "mask"))
        if stream is not None:
            torch.cuda.current_stream(device).wait_stream(stream)
            for tensor in (images, masks):  # their memory is not reused before the computation has read them
                tensor.record_stream(torch.cuda.current_stream(device))
        yield images, masks


def _rounded(mean: Sequence[float]) -> tuple[int, ...]:
    return tuple(min(max(round(value), 0), 255) for value in mean)
