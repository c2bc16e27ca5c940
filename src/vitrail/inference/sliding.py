"""Sliding windows: where they lie, and the mean of their scores, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.inference.score_map import ScoreMap


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows start along one axis; the last one is shifted back to end at the image's border.

    A window that is longer than the image starts at 0 and is cut to the image.
    """
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - window), 0) for index in range(count)]


@dataclass(frozen=True)
class _Placed:
    """A window's scores and where they lie in the image."""

    top: int
    left: int
    scores: ScoreMap

    @property
    def bottom(self) -> int:
        return self.top + self.scores.size[0]


class SlidingMap:
    """The mean of overlapping windows' scores: a `ScoreMap` that holds the windows its next rows lie in, no others.

    Windows are held as they come: when their own maps are resized from the resolution of a head, that resolution is
    what the memory must hold of the rows of windows that overlap, whatever the height of the image.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image.
    window, stride : (int, int)
        Height and width of a window, and the steps between windows.
    windows : iterator of ScoreMap
        Each window's scores, of the size of the window or, where smaller, of the image; windows come row by row, from
        left to right. They are asked for when they are needed.
    num_classes : int
        K.
    device : torch.device
        Where the scores lie.
    normalised : bool
        Whether the scores are probabilities.
    """

    def __init__(
        self,
        size: tuple[int, int],
        window: tuple[int, int],
        stride: tuple[int, int],
        windows: Iterator[ScoreMap],
        *,
        num_classes: int,
        device: torch.device,
        normalised: bool,
    ) -> None:
        self.size = size
        self.num_classes = num_classes
        self.normalised = normalised
        self.device = device
        self._windows = windows
        self._tops = window_starts(size[0], window[0], stride[0])
        self._lefts = window_starts(size[1], window[1], stride[1])
        self._next = 0
        self._placed: list[_Placed] = []
        self._down = _coverage(size[0], window[0], self._tops).to(device)[:, None]
        self._across = _coverage(size[1], window[1], self._lefts).to(device)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W] and forget the windows that end above them."""
        self._placed = [window for window in self._placed if window.bottom > start]
        while self._next < len(self._tops) and self._tops[self._next] < stop:
            top = self._tops[self._next]
            self._placed += [_Placed(top, left, next(self._windows)) for left in self._lefts]
            self._next += 1
        total = torch.zeros(self.num_classes, stop - start, self.size[1], device=self.device)
        for window in self._placed:
            first, last = max(start, window.top), min(stop, window.bottom)
            columns = slice(window.left, window.left + window.scores.size[1])
            total[:, first - start : last - start, columns] += window.scores.rows(first - window.top, last - window.top)
        return total.div_(self._down[start:stop] * self._across)


def _coverage(length: int, window: int, starts: Sequence[int]) -> Tensor:
    """Return how many windows lie over each position of an axis."""
    count = torch.zeros(length)
    for start in starts:
        count[start : start + window] += 1
    return count
