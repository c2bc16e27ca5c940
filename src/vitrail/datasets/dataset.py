"""The registry of datasets, and the one dataset class: a description, a source of images with masks, a transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.files import benchmark_files
from vitrail.datasets.pixel_format import RGB, PixelFormat
from vitrail.datasets.sampler import SampleKey
from vitrail.errors import DatasetError
from vitrail.files.home import expand_home
from vitrail.files.remote import remote_address
from vitrail.registry import Registry, calling_module, check_arguments, first_line

Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]


class Source(Protocol):
    """Images with their masks, in a fixed order."""

    ids: list[str]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 RGB [3, H, W], and mask [H, W] of class indices: uint8 with 255 ignored,
        or int16 with -1 ignored where there are more than 255 classes.

        A source with an attribute `pixels`, a `PixelFormat`, returns as many channels as that says. One whose attribute
        `labelled` is false has no masks.
        """


DatasetBuilder = Callable[..., tuple[Benchmark, Source]]


@dataclass(frozen=True)
class RegisteredDataset:
    """A registered dataset.

    Attributes
    ----------
    builder : callable
        `(root, split, *, …) -> (Benchmark, Source)`, where root is a Path or None.
    benchmark : Benchmark or None
        The description of a dataset whose classes are known before it is opened.
    remote : bool
        Whether root may be an address such as s3://bucket/folder, with one slash as a path has it.
    """

    builder: DatasetBuilder
    benchmark: Benchmark | None = None
    remote: bool = False

    @property
    def summary(self) -> str:
        """One line that says what it is."""
        if self.benchmark is not None:
            return f"{self.benchmark.title}, {len(self.benchmark.classes)} classes"
        return first_line(self.builder)


DATASETS: Registry[RegisteredDataset] = Registry("dataset", DatasetError, "vitrail.datasets")


def register_benchmark(benchmark: Benchmark) -> Benchmark:
    """Register a dataset of image files under the name in its description; it needs no code of its own.

    Parameters
    ----------
    benchmark : Benchmark
        Classes, colours and file layout.

    Returns
    -------
    Benchmark
        The same description.
    """

    def builder(root: Path | None, split: str) -> tuple[Benchmark, Source]:
        return benchmark, benchmark_files(benchmark, root, split)

    DATASETS.add(benchmark.name, RegisteredDataset(builder, benchmark, remote=True), module=calling_module())
    return benchmark


def register_dataset(
    name: str, *, benchmark: Benchmark | None = None, remote: bool = False
) -> Callable[[DatasetBuilder], DatasetBuilder]:
    """Register a dataset that needs code of its own.

    Parameters
    ----------
    name : str
        Its name in recipes.
    benchmark : Benchmark, optional
        Its description, if the classes are known before it is opened.
    remote : bool
        Whether root may be an address in object storage, as it may for the storages of `open_files`.

    Returns
    -------
    callable
        A decorator for the builder `(root, split, *, …) -> (Benchmark, Source)`: root is a Path or None, and the
        keyword-only parameters are the dataset's options.

    Examples
    --------
    >>> @register_dataset("my_files")
    ... def my_files(root, split, *, suffix=".png"):
    ...     return Benchmark(...), MyFiles(root, split, suffix)
    """

    def register(builder: DatasetBuilder) -> DatasetBuilder:
        DATASETS.add(name, RegisteredDataset(builder, benchmark, remote), module=builder.__module__)
        return builder

    return register


def benchmarks() -> dict[str, Benchmark]:
    """Return the descriptions of all datasets whose classes are known before they are opened, by name."""
    return {name: entry.benchmark for name, entry in DATASETS.items() if entry.benchmark is not None}


class SegmentationDataset(Dataset[Sample]):
    """Samples of images and masks.

    A sample is `{"image": tv_tensors.Image, "mask": tv_tensors.Mask, "id": str, "size": (H, W)}`, where `size` is the
    mask's size before the transform.

    Parameters
    ----------
    benchmark : Benchmark
        Classes, palette and flip pairs.
    source : Source
        Provides the images and masks.
    transform : callable, optional
        Maps a sample to a sample.
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

    def __getitem__(self, key: int | SampleKey) -> Sample:
        """Return a sample.

        Parameters
        ----------
        key : int or SampleKey
            A `SampleKey` seeds the transform's random choices with `key.seed` and leaves torch's global random state
            as it was; its class, if it has one, is the sample's `label`, for the transform.
        """
        if not isinstance(key, SampleKey):
            return self._sample(key)
        generator = torch.default_generator  # not torch.manual_seed, which would reseed the accelerators too
        state = generator.get_state()
        generator.manual_seed(key.seed)
        try:
            return self._sample(key.index, key.label)
        finally:
            generator.set_state(state)

    def _sample(self, index: int, label: int | None = None) -> Sample:
        image, mask = self.source.load(index)
        sample = {"image": image, "mask": mask, "id": self.source.ids[index], "size": tuple(mask.shape)}
        if label is not None:
            sample["label"] = label
        return self.transform(sample) if self.transform else sample


def create_dataset(
    name: str,
    root: str | Path | None,
    split: str,
    *,
    transform: Transform | None = None,
    pixels: PixelFormat = RGB,
    unlabelled: bool = False,
    **options: Any,
) -> SegmentationDataset:
    """Open one split of a dataset.

    Parameters
    ----------
    name : str
        One of `list_datasets()`.
    root : str or Path or None
        The dataset's folder or its official archive, or the address of one, such as "s3://bucket/folder"; None for
        datasets without files, such as "scenes".
    split : str
        Such as "train" or "val".
    transform : callable, optional
        Maps a sample to a sample, such as `vitrail.transforms.TrainTransform`.
    pixels : PixelFormat
        The channels and the range of values of the images: `data.value_range` of a recipe, and as many channels as
        `data.mean` has.
    unlabelled : bool
        Also open a split whose masks are not published; every pixel is ignored then.
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
    entry = DATASETS[name]
    builder = entry.builder
    address = None if root is None else remote_address(root)
    if address is not None and not entry.remote:
        raise DatasetError(
            f"the dataset {name!r} is read from the disk, not from {address}: copy it to this machine; in object "
            f"storage are read: {', '.join(name for name, other in DATASETS.items() if other.remote)}"
        )
    check_arguments(builder, options, f"dataset {name!r}", DatasetError)
    benchmark, source = builder(None if root is None else expand_home(root), split, **options)
    if not unlabelled and not getattr(source, "labelled", True):
        raise DatasetError(
            f"the masks of the split {split!r} of {benchmark.title} are not published, so there is nothing to learn "
            f"from or to compare with: `vitrail evaluate MODEL --split {split} --submission DIR` writes predictions "
            "for the benchmark's server"
        )
    if hasattr(source, "pixels"):
        source.pixels = pixels
    elif pixels != RGB:
        raise DatasetError(f"the dataset {name!r} has RGB images: leave model.in_channels and data.value_range out")
    return SegmentationDataset(benchmark, source, transform)


def list_datasets() -> list[str]:
    """Return the names that `create_dataset` takes."""
    return list(DATASETS)
