"""The process group: joining the processes that `torchrun` starts, ranks, barriers."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from vitrail.errors import VitrailError

# A process that waits longer than this for another gives up: nothing hangs for ever, yet a first run may download.
TIMEOUT = timedelta(minutes=30)
WATCH_SECONDS = 2
LAST_SECONDS = 30  # between SIGTERM and SIGKILL, as torchrun has it
_ASK_SECONDS = 0.02
_GROUPS = itertools.count()
# What Gloo and NCCL say of a process that has died or does not answer.
_LOST = (
    *("Timed out", "timed out", "Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    "Connection refused",
)


@contextlib.contextmanager
def process_group(device: torch.device | str) -> Iterator[None]:
    """Join the processes that `torchrun` started, for the length of a block.

    Without `torchrun`, or inside a group that already exists, this does nothing. After an error the group is not
    destroyed: that is itself a collective operation and could wait for processes that will never answer, while
    `torchrun` stops the others when this process ends.

    Parameters
    ----------
    device : torch.device or str
        The device of this process; CUDA uses NCCL, everything else Gloo.

    Raises
    ------
    VitrailError
        When this build of PyTorch cannot run in several processes, and when another process has died or has not
        answered for `TIMEOUT`.
    """
    if not _started_by_torchrun() or _joined():
        yield
        return
    if not dist.is_available():
        raise VitrailError("this build of PyTorch has no torch.distributed: run without torchrun")
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, number, processes = _rendezvous()
    end_with_torchrun()
    with _explain_lost_processes():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=dist.PrefixStore(f"group{next(_GROUPS)}", store),
            rank=number,
            world_size=processes,
            timeout=TIMEOUT,
        )
        yield
    _leave()


@contextlib.contextmanager
def _explain_lost_processes() -> Iterator[None]:
    """Raise a VitrailError in place of what PyTorch raises when another process has died or does not answer."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _LOST):
            raise
        raise VitrailError(
            f"another process of this run has died, or has not answered for {TIMEOUT.total_seconds() / 60:.0f} minutes "
            f"({str(error).splitlines()[0][:200]}). A training goes on from its last checkpoint with --resume; "
            "torchrun --max-restarts N with --resume=auto does so by itself"
        ) from error


@functools.cache
def end_with_torchrun() -> None:
    """See to it that this process ends when the `torchrun` that started it does, however that ended.

    Nobody would end the processes of the run, or start them again, from then on.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and hasattr(os, "getppid"):
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    print(  # noqa: T201
        f"vitrail: torchrun (process {parent}) has ended, and with it this process. A training goes on from its last "
        "checkpoint with --resume",
        file=sys.stderr,
        flush=True,
    )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_SECONDS)  # a training saves itself meanwhile, unless it waits for a process that is gone
    os.kill(os.getpid(), signal.SIGKILL)


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def local_rank() -> int | None:
    """Return the rank of this process on this machine, or None when `torchrun` did not start it."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _started_by_torchrun() else None


def is_main() -> bool:
    """Return whether this is the main process (rank 0), which writes files and logs."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process has reached this call."""
    if _joined():
        dist.barrier()


def side_group() -> Any:
    """Return one more group of all processes, on the CPU, for what they say to each other beside the training.

    Every process calls this; there is a group already.
    """
    return dist.new_group(backend="gloo", timeout=TIMEOUT)


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """Run a block in the main process before the others, so that they find what it downloads or generates."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def _leave() -> None:
    """Destroy the group, once PyTorch's own threads have let go of the tensors of the last operation.

    Gloo's threads release these after the operation has ended, which takes Python's interpreter lock; to destroy the
    group in PyTorch 2.6 is to wait for the threads with that lock held. Sleeping gives it up.
    """
    if dist.get_backend() == "gloo":
        time.sleep(0.1)
    dist.destroy_process_group()


@functools.cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """Return the store through which processes find each other, the rank, and the world size."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return next(iter(dist.rendezvous("env://", timeout=TIMEOUT)))
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=TIMEOUT)
    number, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return dist.PrefixStore(agreed_name(store, number, processes), store), number, processes


def agreed_name(store: dist.Store, number: int, processes: int) -> str:
    """Return a name of this start of the processes that all of them know; every process calls this.

    torchrun keeps one store for all starts of a run, where the addresses of processes that are gone still are: one
    that read such an address would try for ever to reach it. How often it has started them is counted on each machine
    separately, so that it is no name for a start. So all but the first process ask, each under a name of its own, until
    the first one has answered; what others have asked before, nobody reads.

    Parameters
    ----------
    store : Store
        Where earlier starts have left what they had.
    number, processes : int
        The rank of this process, and the world size.

    Raises
    ------
    VitrailError
        When some do not ask within `TIMEOUT`.
    """
    own = secrets.token_hex(8)
    if number > 0:
        store.set(f"vitrail/question/{processes}/{number}", own)
        name = store.get(f"vitrail/answer/{own}").decode()
        store.set(f"{name}/known/{number}", "yes")
        return name
    name, unknowing, deadline = f"vitrail/{own}", set(range(1, processes)), time.monotonic() + TIMEOUT.total_seconds()
    while unknowing:
        for other in sorted(unknowing):
            question = f"vitrail/question/{processes}/{other}"
            if store.check([question]):
                store.set(f"vitrail/answer/{store.get(question).decode()}", name)
            if store.check([f"{name}/known/{other}"]):
                unknowing.remove(other)
        if time.monotonic() > deadline:
            raise VitrailError(
                f"{len(unknowing)} of the {processes} processes of this run have not come together with the others "
                f"within {TIMEOUT.total_seconds() / 60:.0f} minutes: start it again"
            )
        time.sleep(_ASK_SECONDS)
    return name


def _started_by_torchrun() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()
