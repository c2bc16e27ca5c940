"""What training processes have to agree on inside a model: sums and means over all of them."""

from __future__ import annotations

from torch import Tensor
from torch import distributed as dist


def num_processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of `x` over all processes; a new tensor, without gradient. Alone it is `x` itself."""
    if num_processes() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of `x` over all processes; without gradient."""
    return sum_over_processes(x) / num_processes()
