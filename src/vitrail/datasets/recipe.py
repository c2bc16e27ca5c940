"""Opening the splits of the dataset that a recipe describes."""

from __future__ import annotations

from pathlib import Path

from vitrail.datasets.dataset import SegmentationDataset, Transform, create_dataset
from vitrail.datasets.pixel_format import PixelFormat
from vitrail.datasets.remap import remap_classes
from vitrail.datasets.sample_cache import use_cache
from vitrail.recipes import DataConfig


def pixel_format(data: DataConfig) -> PixelFormat:
    """Return what a recipe says about the values of images: as many channels as `data.mean`, and the range."""
    return PixelFormat(len(data.mean), data.value_range)


def open_split(
    data: DataConfig,
    split: str,
    *,
    root: str | Path | None = None,
    transform: Transform | None = None,
    unlabelled: bool = False,
) -> SegmentationDataset:
    """Open a split of a recipe's dataset, with its classes renamed, merged and ignored as `data.classes` says.

    Parameters
    ----------
    data : DataConfig
        The data section.
    split : str
        Such as "train".
    root : str or Path, optional
        Takes precedence over `data.root`.
    transform : callable, optional
        Maps a sample to a sample.
    unlabelled : bool
        Also open a split whose masks are not published.
    """
    dataset = create_dataset(
        data.dataset,
        data.root if root is None else root,
        split,
        transform=transform,
        pixels=pixel_format(data),
        unlabelled=unlabelled,
        **data.options,
    )
    if data.cache is not None:
        use_cache(dataset.source, data.cache)
    return remap_classes(dataset, data.classes)
