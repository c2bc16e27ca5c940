"""One thing done by vitrail and by another toolbox, in one run: seconds in turns, memory each by itself, ratios.

Every measurement is made in a fork of a process that computes nothing, so that none finds the memory of the one before.
On one thread the seconds are those of the processor, so that other work on the machine counts little.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_MMAP_THRESHOLD = -3  # of `mallopt`, in malloc.h

Step = Callable[[], object]
Build = Callable[[bool], Step]  # of ours (True) or of theirs


@dataclass(frozen=True)
class Figures:
    """Seconds and peak MiB of ours and of theirs."""

    seconds: tuple[float, float]
    memory: tuple[float, float]

    HEADER = "seconds  theirs  ratio    MiB  theirs  ratio"

    def __str__(self) -> str:
        (mine, other), (room, their_room) = self.seconds, self.memory
        return f"{mine:7.3f} {other:7.3f} {other / mine:6.2f} {room:6.0f} {their_room:7.0f} {their_room / room:6.2f}"


def compare(build: Build, repeats: int) -> Figures:
    """Measure the steps that `build` makes."""
    seconds = in_a_fresh_process(seconds_in_turns, build, repeats)
    mine, other = (in_a_fresh_process(peak_memory, build, side) for side in (True, False))
    return Figures(seconds, (mine, other))


def seconds_in_turns(build: Build, repeats: int) -> tuple[float, float]:
    """Return the median seconds of ours and of theirs; in each of `repeats` turns the other goes first."""
    steps = build(True), build(False)
    times: tuple[list[float], list[float]] = [], []
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for turn in range(repeats + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            start = clock()
            steps[side]()
            if turn:  # the first one warms up
                times[side].append(clock() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def peak_memory(build: Build, mine: bool) -> float:
    """Return how much in MiB the resident set grows over two steps beyond what is built for them."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_MMAP_THRESHOLD, 1 << 16)  # all that is freed leaves at once: holes in the heap are luck
    step = build(mine)
    gc.collect()
    libc.malloc_trim(0)  # what building freed must not hide what a step takes
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = _status("VmRSS")
    for _ in range(2):
        step()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def in_a_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fork of this process."""
    gc.collect()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        sender.send(function(*arguments))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()
