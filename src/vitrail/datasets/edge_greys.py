"""Recognising masks whose edges were smoothed: values between those of two classes, on the edge between them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LARGEST_SHARE = 0.5  # of all pixels may lie on smoothed edges; in small masks of small things they do
_REACH = 3  # pixels: a mask that was made smaller and larger again has edges of two or three
_BETWEEN = 0.8  # of the pixels of in-between values that must lie on an edge
_BETWEEN_LOSSY = 0.6  # the same after lossy compression, whose waves reach beyond the edges


class EdgeGreys:
    """Counts the pixels of grey masks that are neither 0 nor 255, and those of them between darker and lighter ones."""

    def __init__(self) -> None:
        self.pixels = 0
        self.grey = 0
        self.on_edges = 0
        self.values: set[int] = set()
        self.files: list[str] = []

    def add(self, values: Array, where: str) -> None:
        """Look at one mask, [H, W]; `where` is its name for the message."""
        self.pixels += values.size
        if values.dtype != np.uint8 or values.ndim != 2:
            return
        grey = (values > 0) & (values < 255)
        count = int(grey.sum())
        if not count:
            return
        self.grey += count
        self.on_edges += int((grey & between_neighbours(values)).sum())
        self.values.update(np.unique(values[grey]).tolist())
        self.files.append(where)

    def found(self, *, lossy: bool = False) -> bool:
        """Return whether the grey pixels are those of smoothed edges, or of lossy ones, rather than of classes."""
        between = _BETWEEN_LOSSY if lossy else _BETWEEN
        return 0 < self.grey < _LARGEST_SHARE * self.pixels and self.on_edges >= between * self.grey

    def message(self) -> str:
        """Return what was seen, what it would do, and what to do."""
        shown = ", ".join(map(str, sorted(self.values)[:6])) + (", …" if len(self.values) > 6 else "")
        return (
            f"the masks hold 0 and 255 and, on the edges between them, the greys {shown} (in {len(self.files)} masks, "
            f"such as {self.files[0]}): they were resized with a smooth filter, and the greys would become classes and "
            "white would be ignored. Write them anew without greys: vitrail dataset check folder --root ROOT --fix OUT"
        )


def between_neighbours(values: Array) -> Array:
    """Return which pixels of a mask [H, W] have both a smaller and a larger value within three pixels."""
    low, high = _extreme(values, np.minimum), _extreme(values, np.maximum)
    between: Array = (low < values) & (values < high)
    return between


def _extreme(values: Array, of: Callable[[Array, Array], Array]) -> Array:
    """Return the least or largest value in the square of side 2 × _REACH + 1 around each pixel."""
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (_REACH, _REACH)
        padded, length = np.pad(values, margin, mode="edge"), values.shape[axis]
        for shift in range(2 * _REACH + 1):
            values = of(values, padded.take(range(shift, shift + length), axis))
    return values
