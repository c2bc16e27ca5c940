"""Class names and colours of every dataset whose classes are known before it is opened."""

from __future__ import annotations

from dataclasses import dataclass

from vitrail.datasets.dataset import benchmarks
from vitrail.errors import DatasetError, nearest

__all__ = ["LabelSet", "label_set", "list_label_sets"]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset, which give the meaning of a model's outputs.

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
    """Return the names that `label_set` takes; datasets that have the classes of another come last."""
    known = benchmarks()
    return sorted(known, key=lambda name: (bool(known[name].classes_of), name))


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
    if benchmark is None:
        raise DatasetError(f"unknown label set {name!r}.{nearest(name, list_label_sets())}")
    return LabelSet(name, benchmark.title, benchmark.classes, benchmark.palette)
