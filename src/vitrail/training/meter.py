"""Losses and time over a window of iterations; losses stay on the device until they are read."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import TrainingError
from vitrail.layers.processes import sum_over_processes


@dataclass(frozen=True)
class Window:
    """Means over the iterations since the last reading.

    Attributes
    ----------
    losses : dict from str to float
        The mean of each term.
    iterations : int
        The number of iterations.
    seconds : float
        Their duration, without evaluation and saving.
    data_wait : float
        The fraction of that time spent waiting for data.
    """

    losses: dict[str, float]
    iterations: int
    seconds: float
    data_wait: float

    @property
    def loss(self) -> float:
        """The objective: the sum of the terms."""
        return sum(self.losses.values())


class Meter:
    """Collects the losses of a window of iterations without synchronising the device.

    Parameters
    ----------
    device : torch.device
        The device of the losses.
    length : int
        The most iterations between two calls of `read`.
    hint : callable
        Returns what to add to the message when a loss is not finite.
    """

    def __init__(self, device: torch.device, length: int, *, hint: Callable[[], str]) -> None:
        self._device = device
        self._hint = hint
        self._length = length
        self._names: tuple[str, ...] = ()
        self._values = torch.zeros(0)
        self._count = 0
        self._current: Tensor | None = None
        self.restart()

    def add(self, losses: Mapping[str, Tensor], share: Tensor) -> None:
        """Add the losses of one part of a batch, which count by its share of the batch."""
        values = torch.stack([value.detach().float() for value in losses.values()]) * share
        self._names = tuple(losses)
        self._current = values if self._current is None else self._current + values

    def step(self) -> None:
        """End an iteration."""
        if self._current is None:
            raise RuntimeError("no losses were added in this iteration")
        if self._values.shape[-1] != len(self._names):
            self._values = torch.zeros(self._length, len(self._names), device=self._device)
        self._values[self._count] = self._current
        self._current = None
        self._count += 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time spent in a block."""
        begin = time.perf_counter()
        yield
        self._begin += time.perf_counter() - begin

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time spent in a block as waiting for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def restart(self) -> None:
        """Begin a new window now."""
        self._count = 0
        self._waited = 0.0
        self._begin = time.perf_counter()

    def check(self, iteration: int) -> list[list[float]]:
        """Return the losses of each iteration since the last reading; synchronises the device.

        Parameters
        ----------
        iteration : int
            The number of the iteration that ended last.

        Raises
        ------
        TrainingError
            When a loss was not finite; names the first such iteration.
        """
        rows: list[list[float]] = sum_over_processes(self._values[: self._count]).tolist()
        for number, row in enumerate(rows, start=iteration - len(rows) + 1):
            if not all(math.isfinite(value) for value in row):
                terms = ", ".join(f"{name}={value:.4g}" for name, value in zip(self._names, row, strict=True))
                raise TrainingError(
                    f"the loss is no longer finite at iteration {number} ({terms}); {self._hint()}. A lower "
                    "optimizer.lr, a longer schedule.warmup or train.clip_grad_norm may help"
                )
        return rows

    def read(self, iteration: int) -> Window:
        """Return the means over all processes since the last reading and begin a new window; checks as `check` does."""
        rows = self.check(iteration)
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        seconds = time.perf_counter() - self._begin
        window = Window(dict(zip(self._names, means, strict=True)), len(rows), seconds, self._waited / seconds)
        self.restart()
        return window


def peak_memory(device: torch.device) -> float | None:
    """Return the peak memory of this process so far, in GB: the device's on CUDA, the host's elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":  # has no getrusage
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6
