"""Collective operations on objects and modules; sums of tensors are in `vitrail.layers.processes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn

from vitrail.errors import VitrailError
from vitrail.layers.processes import world_size
from vitrail.runtime.distributed.group import is_main

Result = TypeVar("Result")


def gather_objects(obj: Any) -> list[Any]:
    """Return the object of each process, by rank; the same list in every process."""
    if world_size() == 1:
        return [obj]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, obj)
    return gathered


def on_main(work: Callable[[], Result]) -> Result:
    """Call `work` in the main process (rank 0) and return its result in every process.

    A VitrailError is raised in every process, so that none waits for one that has stopped.

    Parameters
    ----------
    work : callable
        Without arguments; what it returns must be picklable.

    Raises
    ------
    VitrailError
        What `work` raised, of the same type in every process.
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
    """Copy rank 0's buffers of `module`, such as the running statistics of batch norms, to every process.

    Without synchronised batch norms the statistics differ a little between processes, and so would their predictions.
    """
    if world_size() == 1:
        return
    with torch.no_grad():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
