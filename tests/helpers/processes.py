"""Two processes of one group, as torchrun would start them, without the seconds that importing PyTorch takes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence

import torch
from torch import multiprocessing


def in_two_processes(work: Callable[..., object], *arguments: object) -> None:
    """Call `work(*arguments)` in two processes that `vitrail.runtime.distributed` finds to be a group.

    They are forks of a process that has imported vitrail and done nothing: one that has computed gradients, as this
    one may have, cannot be forked.

    Raises
    ------
    torch.multiprocessing.ProcessRaisedException
        When one of them fails, with its traceback; the other is ended.
    """
    multiprocessing.set_forkserver_preload(["vitrail.training", "vitrail.evaluation"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(_call, (port, work, arguments), nprocs=2, start_method="forkserver")


def _call(rank: int, port: int, work: Callable[..., object], arguments: Sequence[object]) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    work(*arguments)


def execute(program: str, *arguments: str) -> None:
    """Run the text of a program."""
    sys.argv = ["", *arguments]
    exec(program, {"__name__": "__main__"})
