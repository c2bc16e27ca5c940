"""The reader and the description of a user's own masks: of what stands in classes.yaml, or in the masks themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.class_file import ClassFile
from vitrail.datasets.files_path import Place
from vitrail.datasets.infer_classes import colours_wanted, infer_classes
from vitrail.datasets.mask_encoding import MaskLook, binary_values, look_at, masks_are_coloured, sampled
from vitrail.datasets.mask_files import ColourMasks, IndexMasks, MaskReader
from vitrail.datasets.storage import Files
from vitrail.errors import DatasetError
from vitrail.visualize.palette import distinct_colours


def describe_masks(
    files: Files, masks: Sequence[str], given: ClassFile | None, coloured: bool | None
) -> tuple[ClassFile, MaskReader]:
    """Return the classes of masks, and the reader for them.

    Parameters
    ----------
    files : Files
        Storage of the masks.
    masks : sequence of str
        All masks of the dataset, so that every split gets the same classes.
    given : ClassFile or None
        What the user wrote; None infers the classes.
    coloured : bool or None
        Whether colours encode the classes; None finds out.

    Raises
    ------
    DatasetError
        When a mask cannot be read, colours have no names, or the values cannot be classes.
    """
    looks = _looks(files, masks) if _must_look(given, coloured) else []
    if coloured is None:
        coloured = masks_are_coloured(looks, given)
    if coloured and (given is None or given.palette is None):
        raise colours_wanted(looks or _looks(files, masks), files, masks[0], given)
    classes = infer_classes(files, masks) if given is None else given
    if coloured:
        return classes, ColourMasks(classes.colours(), len(classes.classes))
    classes = binary_values(looks, classes)
    return classes, IndexMasks(classes.labels(), len(classes.classes))


def describe(name: str, root: Place, classes: ClassFile) -> Benchmark:
    """Return the description of a dataset of the user's own, registered as `name`."""
    return Benchmark(
        name=name,
        title=root.resolve().name,
        classes=classes.classes,
        palette=classes.palette or distinct_colours(len(classes.classes)),
        splits={},
    )


def _looks(files: Files, masks: Sequence[str]) -> list[MaskLook]:
    """Return what a sample of the masks looks like; a damaged one is an error when its turn comes, and not before."""
    looks = []
    for name in sampled(masks):
        with contextlib.suppress(DatasetError):
            looks.append(look_at(files, name))
    return looks


def _must_look(given: ClassFile | None, coloured: bool | None) -> bool:
    return coloured is None or (not coloured and given is not None and len(given.classes) == 2 and not given.values)
