"""Sums and means over the processes of a distributed run, usable inside a model; without one, over this process."""

from __future__ import annotations

from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of `x` over all processes, without gradient; `x` itself, detached, when there is one process."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of `x` over all processes, without gradient."""
    return sum_over_processes(x) / world_size()
