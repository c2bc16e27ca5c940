"""Values of segmentation masks that every package agrees on.

Masks of up to 255 classes are uint8, and 255 is ignored in them. Masks of more classes are int16, and -1 is ignored:
255 is a class there. In files of 16 bits the latter is written as 65535, which are the same bits.
"""

from __future__ import annotations

from typing import Protocol

IGNORE = 255
"""Label of pixels that belong to no class, where there are up to 255: they count in no loss and in no metric."""

WIDE_IGNORE = -1
"""Label of pixels that belong to no class, where there are more than 255 classes."""

WIDE_IGNORE_IN_FILES = 65535
"""`WIDE_IGNORE` in files, whose values have 16 bits and no sign."""

MAX_CLASSES = 8192
"""The largest number of classes: their confusion matrix takes half a gigabyte."""


class Values(Protocol):
    """A tensor or an array of integers."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""


def is_wide(num_classes: int) -> bool:
    """Return whether so many classes need masks of 16 bits."""
    return num_classes > IGNORE


def ignore_index(num_classes: int) -> int:
    """Return the label of ignored pixels where there are `num_classes` classes: 255, or -1 for more than 255."""
    return WIDE_IGNORE if is_wide(num_classes) else IGNORE


def ignore_index_of(mask: Values) -> int:
    """Return the label of ignored pixels in a mask of a dataset: 255 in uint8, -1 in int16."""
    return IGNORE if mask.itemsize == 1 else WIDE_IGNORE
