"""Descriptions of datasets as plain data: class names, colours, file layout, label values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vitrail.labels import MAX_CLASSES


@dataclass(frozen=True)
class Split:
    """The files of one split, below the root of the official download.

    Attributes
    ----------
    images, masks : str
        Relative paths with `{id}` in place of the image's id, such as "JPEGImages/{id}.jpg". An id may contain slashes.
    ids : str or None
        A text file that lists the ids: the first column of each line, reduced to its `{id}` when it is a path of
        the form `images`, and taken as it is otherwise. None takes every file that matches `images`.
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
        The name in recipes, and the dataset's usual name.
    classes : tuple of str
        Class names, by class index.
    palette : tuple of (int, int, int)
        One RGB colour per class.
    splits : mapping from str to Split or tuple of str
        By name; "train" and "val" at least. A tuple of names is the concatenation of those splits. Empty for a
        dataset without files.
    labels : mapping from int to int, or None
        Raw mask value to class index (`vitrail.labels.ignore_index` of the number of classes = ignored); values that
        are not listed are errors. None: the raw values are the class indices, and 255 is ignored, or 65535 where there
        are more than 255 classes.
    flip_pairs : tuple of (int, int)
        Left-right pairs of classes, which are swapped when an image is flipped.
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
            raise ValueError(f"{self.name}: {len(self.classes)} classes, but there can be {MAX_CLASSES} at most")
