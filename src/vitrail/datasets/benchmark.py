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
    images : str
        Relative path with `{id}` in place of the image's id, such as "JPEGImages/{id}.jpg". An id may contain slashes.
        With `{folder}` before it, such as "data/{folder}/origin/{id}.jpg", an image's id is "folder/id". A path that
        begins with "**/" is looked for in every folder.
    masks : str or None
        Likewise. A "*" after the id stands for several masks of one image, such as one for each person. None: the
        masks are not published.
    ids : str, tuple of str or None
        A text file that lists the ids: the first column of each line, reduced to its `{id}` when it is a path of
        the form `images`, and taken as it is otherwise. Where `images` has a `{folder}`, it lists folders. A tuple
        holds the ids themselves. None takes every file that matches `images`.
    id_pattern : str
        The regular expression of an id, where `ids` is None.
    second_images : str or None
        A second image of the same place; its channels follow those of the first.
    """

    images: str
    masks: str | None
    ids: str | tuple[str, ...] | None = None
    id_pattern: str = ".+"
    second_images: str | None = None


@dataclass(frozen=True)
class Submission:
    """The files that a benchmark's server takes for a split: one PNG for each image.

    Attributes
    ----------
    path : str
        Path of a file, with `{id}` in place of the image's id, or `{name}` of its part after the last slash.
    values : tuple of int or None
        The value of each class in the files; None: the class index.
    palette : bool
        Whether the files have the classes' colours as their palette; they are grey otherwise.
    """

    path: str
    values: tuple[int, ...] | None = None
    palette: bool = False

    def file(self, image_id: str) -> str:
        """Return the path of an image's file."""
        return self.path.format(id=image_id, name=image_id.rpartition("/")[2])


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
        By name; "val" at least. A tuple of names is the concatenation of those splits. Empty for a dataset without
        files.
    labels : mapping from int to int, or None
        Raw mask value to class index (`vitrail.labels.ignore_index` of the number of classes = ignored); values that
        are not listed are errors. None: the raw values are the class indices, and 255 is ignored, or 65535 where there
        are more than 255 classes.
    colours : mapping from (int, int, int) to int, or None
        For masks in colour, in place of `labels`: RGB colour to class index or the ignored label.
    other_colours : int or None
        What colours that are not listed stand for; None: they are errors.
    flip_pairs : tuple of (int, int)
        Left-right pairs of classes, which are swapped when an image is flipped.
    citation : str
        The paper.
    submission : Submission or None
        What its server takes.
    classes_of : str
        The name of the dataset whose classes these are, where they are another's.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    splits: Mapping[str, Split | tuple[str, ...]]
    labels: Mapping[int, int] | None = None
    colours: Mapping[tuple[int, int, int], int] | None = None
    other_colours: int | None = None
    flip_pairs: tuple[tuple[int, int], ...] = field(default=())
    citation: str = ""
    submission: Submission | None = None
    classes_of: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.palette):
            raise ValueError(f"{self.name}: {len(self.classes)} classes but {len(self.palette)} colours")
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f"{self.name}: {len(self.classes)} classes, but there can be {MAX_CLASSES} at most")
