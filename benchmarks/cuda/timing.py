"""The time of a step and its peak memory, on CUDA by events, elsewhere by the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Step = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """How long a step takes.

    Attributes
    ----------
    milliseconds, fastest, slowest : float
        The median, and the ends of the range.
    steps : int
        How many were timed.
    gib : float or None
        The peak of the memory that the row took, in GiB; None without CUDA, and where a CUDA graph hides it.
    first_seconds : float
        The duration of the first step, in which cuDNN searches and `torch.compile` compiles.
    """

    milliseconds: float
    fastest: float
    slowest: float
    steps: int
    gib: float | None
    first_seconds: float


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Measures the time between the ends of consecutive steps, without synchronising between them.

    Parameters
    ----------
    device : torch.device
        Where the steps run.
    warmup : int
        Steps that are not timed.
    steps : int
        The most steps that are timed.
    seconds : float
        After how many seconds timing ends, once three steps are timed.

    Attributes
    ----------
    hides_memory : bool
        Set for steps that replay a CUDA graph, whose memory does not count as allocated.
    """

    def __init__(self, device: torch.device, *, warmup: int = 4, steps: int = 20, seconds: float = 1.5) -> None:
        self.device = device
        self._warmup, self._steps, self._seconds = warmup, steps, seconds
        self._base = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        self.hides_memory = False
        self._built = time.perf_counter()
        self._first = 0.0
        self._count = 0
        self._marks: list[torch.cuda.Event | float] = []

    def start(self) -> None:
        """Begin: what comes before belongs to no step."""
        synchronize(self.device)
        self._built = time.perf_counter()

    def tick(self) -> bool:
        """End a step; return whether that was the last."""
        self._count += 1
        if self._count == 1:
            synchronize(self.device)
            self._first = time.perf_counter() - self._built
        if self._count < self._warmup:
            return False
        if self._count == self._warmup:
            synchronize(self.device)
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self._begin = time.perf_counter()
        self._marks.append(self._mark())
        timed = len(self._marks) - 1
        return timed >= self._steps or (timed >= 3 and time.perf_counter() - self._begin > self._seconds)

    def result(self) -> Timing:
        """Return the timing."""
        synchronize(self.device)
        times = [_milliseconds(a, b) for a, b in zip(self._marks[:-1], self._marks[1:], strict=True)]
        gib = None
        if self.device.type == "cuda" and not self.hides_memory:
            gib = (torch.cuda.max_memory_allocated(self.device) - self._base) / 2**30
        return Timing(statistics.median(times), min(times), max(times), len(times), gib, self._first)

    def _mark(self) -> torch.cuda.Event | float:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _milliseconds(start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    if isinstance(start, float) and isinstance(end, float):
        return (end - start) * 1000
    assert isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event)
    return start.elapsed_time(end)


def run(step: Step, watch: Stopwatch) -> None:
    """Repeat a step until the watch has enough."""
    watch.start()
    step()
    while not watch.tick():
        step()
