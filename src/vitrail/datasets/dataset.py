"""One dataset class for everything: a description, a source of images with masks, and a transform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vitrail.datasets.benchmark import BENCHMARKS, Benchmark
from vitrail.datasets.files import benchmark_files
from vitrail.datasets.sampler import Draw
from vitrail.errors import DatasetError, nearest
from vitrail.registry import Registry, check_arguments

Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]


class Source(Protocol):
    """Images with their masks, in a fixed order."""

    ids: list[str]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 RGB [3, H, W], and mask, uint8 [H, W] of class indices with 255 ignored."""


Builder = Callable[..., tuple[Benchmark, Source]]
DATASETS: Registry[Builder] = Registry("dataset", DatasetError, "vitrail.datasets")


def register_dataset(name: str) -> Callable[[Builder], Builder]:
    """Register a dataset that needs code of its own.

    The function takes the root, the split and its own keyword-only options, and returns description and source.
    A benchmark of image files needs no code: a description given to `register_benchmark` is enough.
    """

    def register(builder: Builder) -> Builder:
        DATASETS.add(name, builder)
        return builder

    return register


class SegmentationDataset(Dataset[Sample]):
    """Samples of images and masks.

    A sample is `{"image": tv_tensors.Image, "mask": tv_tensors.Mask, "id": str, "size": (H, W)}`, where `size` is the
    mask's size before the transform.

    Parameters
    ----------
    benchmark : Benchmark
        Classes, palette and flip pairs.
    source : Source
        Where images and masks come from.
    transform : callable, optional
        From sample to sample.
    """

    def __init__(self, benchmark: Benchmark, source: Source, transform: Transform | None = None) -> None:
        self.benchmark = benchmark
        self.source = source
        self.transform = transform

    @property
    def ids(self) -> list[str]:
        """The images' ids, by index."""
        return self.source.ids

    def __len__(self) -> int:
        return len(self.source.ids)

    def __getitem__(self, key: int | Draw) -> Sample:
        """Return a sample.

        Parameters
        ----------
        key : int or Draw
            With a `Draw`, the transform's random choices are determined by `key.seed`, and torch's global random
            state is left as it was.
        """
        if not isinstance(key, Draw):
            return self._sample(key)
        generator = torch.default_generator  # not torch.manual_seed, which would reseed the accelerators too
        state = generator.get_state()
        generator.manual_seed(key.seed)
        try:
            return self._sample(key.index)
        finally:
            generator.set_state(state)

    def _sample(self, index: int) -> Sample:
        image, mask = self.source.load(index)
        sample = {"image": image, "mask": mask, "id": self.source.ids[index], "size": tuple(mask.shape)}
        return self.transform(sample) if self.transform else sample


def create_dataset(
    name: str,
    root: str | Path | None,
    split: str,
    *,
    transform: Transform | None = None,
    **options: Any,
) -> SegmentationDataset:
    """Open one split of a dataset.

    Parameters
    ----------
    name : str
        One of `list_datasets()`.
    root : str or Path or None
        The dataset's folder, or its official archive. Datasets without files, such as "scenes", need none.
    split : str
        Such as "train" or "val".
    transform : callable, optional
        From sample to sample, such as `vitrail.transforms.TrainTransform`.
    **options
        Keyword arguments of the dataset's builder; one that it does not take is an error.

    Returns
    -------
    SegmentationDataset

    Raises
    ------
    DatasetError
        When name, split or option are unknown, or the files are missing or inconsistent.
    """
    path = None if root is None else Path(root).expanduser()
    if name in DATASETS:
        builder = DATASETS[name]
        check_arguments(builder, options, f"dataset {name!r}", DatasetError)
        benchmark, source = builder(path, split, **options)
        return SegmentationDataset(benchmark, source, transform)
    if name not in BENCHMARKS:
        raise DatasetError(f"unknown dataset {name!r}.{nearest(name, list_datasets())} Known: {_known()}.")
    check_arguments(benchmark_files, options, f"dataset {name!r}", DatasetError)
    benchmark = BENCHMARKS[name]
    return SegmentationDataset(benchmark, benchmark_files(benchmark, path, split), transform)


def list_datasets() -> list[str]:
    """Return the names that `create_dataset` takes."""
    return sorted({*BENCHMARKS, *DATASETS})


def _known() -> str:
    return ", ".join(list_datasets())
