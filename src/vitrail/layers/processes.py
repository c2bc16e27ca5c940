"""Sums, means and tables over the processes of a distributed run, usable inside a model; without one, over this one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return the number of this process, counted from 0."""
    return dist.get_rank() if world_size() > 1 else 0


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


def gather_over_processes(x: Tensor) -> Tensor:
    """Return the tensors of all processes one after the other along the first dimension; all have the same shape."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def gather_with_gradient(x: Tensor) -> Tensor:
    """Return what `gather_over_processes` does; the gradients that all processes have for a part are added up."""
    if world_size() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x.contiguous()))


def held_part(x: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds: all of it, unless it is sharded over the processes."""
    part: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return part


def own_share(x: Tensor) -> Tensor:
    """Return this process's part of what `gather_over_processes` returned."""
    return x.chunk(world_size())[process_rank()]


def alike_on_processes(x: Tensor) -> Tensor:
    """Return the first process's tensor, on all processes."""
    if world_size() > 1:
        dist.broadcast(x, src=0)
    return x
