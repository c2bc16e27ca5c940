"""Sliding windows: their positions, and the mean of their scores, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.inference.score_map import Output, ScoreMap


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return the first positions of windows along one axis; the last window is shifted back to end at the border.

    A window that is longer than the image starts at 0 and is cropped to the image.
    """
    count = max(length - window + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - window), 0) for index in range(count)]


@dataclass(frozen=True)
class _Placed:
    """The scores of a window and its position in the image."""

    top: int
    left: int
    scores: ScoreMap

    @property
    def bottom(self) -> int:
        return self.top + self.scores.size[0]


class SlidingMap:
    """The mean of the scores of overlapping windows: a `ScoreMap` that holds only the windows that cover its next rows.

    Windows are held as they are given: where their own maps are resized from the resolution of a head, memory holds
    the overlapping rows of windows at that resolution, whatever the height of the image.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image.
    window, stride : (int, int)
        Height and width of a window, and the steps between windows.
    windows : iterator of ScoreMap
        The scores of each window, of the size of the window or, where smaller, of the image; row by row, from left to
        right. The iterator is advanced when the next window is needed.
    num_classes : int
        K.
    device : torch.device
        The device of the scores.
    output : {"logits", "probabilities", "scores"}
        What the windows' values are.
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
        output: Output,
    ) -> None:
        self.size = size
        self.num_classes = num_classes
        self.output = output
        self.device = device
        self._windows = windows
        self._tops = window_starts(size[0], window[0], stride[0])
        self._lefts = window_starts(size[1], window[1], stride[1])
        self._next = 0
        self._placed: list[_Placed] = []
        self._down = _coverage(size[0], window[0], self._tops).to(device)[:, None]
        self._across = _coverage(size[1], window[1], self._lefts).to(device)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [K, stop - start, W] and release the windows that end above them."""
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
    """Return the number of windows that cover each position of an axis."""
    count = torch.zeros(length)
    for start in starts:
        count[start : start + window] += 1
    return count
