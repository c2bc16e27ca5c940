"""Class names and colours of every dataset that a published checkpoint was trained on, one YAML file each.

A label set gives the meaning of a model's outputs; a `Benchmark` also gives the file layout of a dataset. Names and
colours of a dataset with a `Benchmark` are in its description, not in this folder.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from vitrail.datasets.dataset import benchmarks
from vitrail.errors import DatasetError, nearest
from vitrail.files.yaml_file import read_yaml

__all__ = ["LabelSet", "label_set", "list_label_sets"]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset.

    Attributes
    ----------
    name, title : str
        The name in vitrail, and the dataset's usual name.
    classes : tuple of str
        Class names, by class index.
    palette : tuple of (int, int, int)
        One RGB colour per class, 0…255.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


def list_label_sets() -> list[str]:
    """Return the names that `label_set` takes, sorted: every benchmark and every file in this folder."""
    return sorted({*benchmarks(), *_files()})


def label_set(name: str) -> LabelSet:
    """Return the classes of a dataset.

    Parameters
    ----------
    name : str
        One of `list_label_sets()`.

    Raises
    ------
    DatasetError
        For a name that is not known; the message suggests the nearest one.
    """
    benchmark = benchmarks().get(name)
    if benchmark is not None:
        return LabelSet(name, benchmark.title, benchmark.classes, benchmark.palette)
    if name not in _files():
        raise DatasetError(f"unknown label set {name!r}.{nearest(name, list_label_sets())}")
    return _read(name)


@functools.cache
def _files() -> dict[str, Path]:
    return {path.stem: path for path in Path(__file__).parent.glob("*.yaml")}


@functools.cache
def _read(name: str) -> LabelSet:
    data = read_yaml(_files()[name], DatasetError).data
    colours: dict[str, list[int]] = data["classes"]
    palette = tuple((red, green, blue) for red, green, blue in colours.values())
    return LabelSet(name, data["title"], tuple(colours), palette)
