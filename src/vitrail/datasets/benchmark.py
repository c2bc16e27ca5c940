"""What is known about a dataset before a single file is read: names, colours, layout, label values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vitrail.errors import DatasetError
from vitrail.labels import IGNORE
from vitrail.registry import Registry

__all__ = ["BENCHMARKS", "IGNORE", "MAX_CLASSES", "Benchmark", "Split", "register_benchmark"]

MAX_CLASSES = 254


@dataclass(frozen=True)
class Split:
    """Where the files of one split lie below the root of the official download.

    Attributes
    ----------
    images, masks : str
        Paths with `{id}` for the image's id, such as "JPEGImages/{id}.jpg". An id may contain slashes.
    ids : str or None
        A text file that lists the ids: the first column of each line, reduced to what `{id}` stands for in `images`
        when it is a path, and taken as it is otherwise. None takes every file that matches `images`.
    """

    images: str
    masks: str
    ids: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """A dataset's description.

    Attributes
    ----------
    name, title : str
        The name in recipes, and the name people use.
    classes : tuple of str
        Class names, by class index.
    palette : tuple of (int, int, int)
        One RGB colour per class.
    splits : mapping from str to Split or tuple of str
        By name; "train" and "val" at least. A tuple of names stands for those splits one after the other. Empty for
        a dataset without files.
    labels : mapping from int to int, or None
        Raw mask value to class index (255 = ignored); values that are not named are errors. None: the raw values are
        the class indices, and 255 is ignored.
    flip_pairs : tuple of (int, int)
        Left-right pairs of classes, which change places when an image is mirrored.
    citation : str
        The paper.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    splits: Mapping[str, Split | tuple[str, ...]]
    labels: Mapping[int, int] | None = None
    flip_pairs: tuple[tuple[int, int], ...] = field(default=())
    citation: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.palette):
            raise ValueError(f"{self.name}: {len(self.classes)} classes but {len(self.palette)} colours")
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f"{self.name}: {len(self.classes)} classes, but 8-bit masks hold {MAX_CLASSES} at most")


BENCHMARKS: Registry[Benchmark] = Registry("dataset", DatasetError, "vitrail.datasets")


def register_benchmark(benchmark: Benchmark) -> Benchmark:
    """Register a description under its name."""
    BENCHMARKS.add(benchmark.name, benchmark)
    return benchmark
