"""What a row spends its time on: the kernels of a few steps."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.cuda.rows import Row
from benchmarks.cuda.timing import Stopwatch, synchronize

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")


class Profiled(Stopwatch):
    """A stopwatch that profiles the steps after the warm-up."""

    def __init__(self, device: torch.device, *, warmup: int = 4, steps: int = 3) -> None:
        super().__init__(device, warmup=warmup, steps=steps)
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
        self.profile: Any = profile(activities=activities, acc_events=True)
        self._left = steps
        self._until = warmup
        self.profiled = steps

    def tick(self) -> bool:
        """End a step; return whether that was the last."""
        self._until -= 1
        if self._until > 0:
            return False
        synchronize(self.device)
        if self._until == 0:
            self.profile.start()
            return False
        self._left -= 1
        if self._left:
            return False
        self.profile.stop()
        return True


def profile_row(row: Row, device: torch.device) -> str:
    """Return the table of the most expensive kernels of a row, and how many launches a step makes."""
    watch = Profiled(device)
    row.measure(watch)
    events = watch.profile.key_averages()
    counts = {event.key: event.count / watch.profiled for event in events if event.key.startswith(LAUNCHES)}
    launches = ", ".join(f"{name} {count:.0f}" for name, count in sorted(counts.items())) or "none"
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    kernels = [event for event in events if _on_device(event)] if device.type == "cuda" else list(events)
    kernels.sort(key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in kernels) or 1.0
    lines = [f"{row}: {total / watch.profiled / 1000:.2f} ms of kernels a step; calls a step: {launches}"]
    lines += [f"{'ms/step':>9}  {'share':>6}  {'calls/step':>10}  kernel"]
    for event in kernels[:25]:
        time = getattr(event, key)
        calls = event.count / watch.profiled
        lines.append(f"{time / watch.profiled / 1000:9.3f}  {time / total:6.1%}  {calls:10.1f}  {event.key[:150]}")
    return "\n".join(lines)


def _on_device(event: Any) -> bool:
    return event.device_type == DeviceType.CUDA and event.self_device_time_total > 0
