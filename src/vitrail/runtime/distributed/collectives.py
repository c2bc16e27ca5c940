"""Sharing tensors and objects between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from vitrail.errors import VitrailError
from vitrail.runtime.distributed.group import is_main, world_size

Result = TypeVar("Result")


def sum_across(tensor: Tensor) -> Tensor:
    """Replace `tensor` by its sum over all processes, in place, and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def gather_objects(obj: Any) -> list[Any]:
    """Return what each process passed, in the order of the processes; the same list everywhere."""
    if world_size() == 1:
        return [obj]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, obj)
    return gathered


def on_main(work: Callable[[], Result]) -> Result:
    """Do `work` in the main process and return its result in every process.

    A user's mistake that it finds is raised in every process, so that none waits for one that has stopped.

    Parameters
    ----------
    work : callable
        Without arguments; what it returns must be picklable.

    Raises
    ------
    VitrailError
        What `work` raised; with its own type in every process.
    """
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = work()
        except VitrailError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the main process's buffers of `module`, such as the statistics of its batch norms.

    Without synchronised batch norms the statistics differ a little between processes, and so would their predictions.
    """
    if world_size() == 1:
        return
    with torch.no_grad():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
