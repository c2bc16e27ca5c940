"""Pass errors from the workers of a DataLoader to the main process, and notice workers that died or stopped.

An exception raised in a worker would arrive wrapped in a traceback, so a `VitrailError` is returned as a value instead.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vitrail.datasets.dataset import SegmentationDataset
from vitrail.datasets.sampler import SampleKey
from vitrail.errors import DatasetError, VitrailError

CHECK_SECONDS = 30  # after which a loader that gives nothing is asked again
CHECKS = 10  # without an image before the loop ends: five minutes
LAST_SECONDS = 120  # that a loader process outlives a signal to end
STOPPED_CHECKS = 5  # of a stopped process before it is killed; earlier, so that only one of the two happens

_SPACE = (
    "The memory of the machine, or the shared memory (/dev/shm) of a container, may be too small: lower data.workers "
    "(0 uses no processes) or train.batch_size, or give the container more with --shm-size. A training goes on from "
    "its last checkpoint with --resume"
)


class ErrorsAsValues(Dataset[Any]):
    """Dataset that returns a `VitrailError` instead of raising it."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any] | VitrailError:
        try:
            return self.dataset[key]
        except VitrailError as error:
            return error


def collate_or_error(
    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]], samples: Sequence[dict[str, Any] | VitrailError]
) -> dict[str, Any] | VitrailError:
    """Return the batch that `collate` builds from the samples, or the first error among them."""
    found: list[dict[str, Any]] = []
    for sample in samples:
        if isinstance(sample, VitrailError):
            return sample
        found.append(sample)
    try:
        batch = collate(found)
    except VitrailError as error:
        return error
    return batch if get_worker_info() is None else _in_shared_memory(batch)


def _in_shared_memory(batch: dict[str, Any]) -> dict[str, Any] | VitrailError:
    """Move a batch to where the main process can read it.

    PyTorch would do so in a thread of its own, which loses the error when there is no room, and the loop would wait for
    the batch for ever.
    """
    try:
        for value in batch.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, torch.Tensor):
                    item.share_memory_()
    except (RuntimeError, OSError) as error:
        return DatasetError(f"a process that loads images cannot hand over a batch ({str(error)[:200]}). {_SPACE}")
    return batch


@contextlib.contextmanager
def explain_dead_workers(*, reading: bool = False) -> Iterator[None]:
    """Explain the error about a loader process that was killed from outside.

    Parameters
    ----------
    reading : bool
        Whether the block does nothing but read from a loader, so that a broken connection is the same error.

    Raises
    ------
    DatasetError
        In place of PyTorch's RuntimeError, and of a ConnectionError where the block is reading.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if "DataLoader worker" not in str(error) and (not reading or isinstance(error, RuntimeError)):
            raise
        raise DatasetError(f"a process that loads images ended ({error or type(error).__name__}). {_SPACE}") from error


def loaded(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a loader made with `process_options`.

    Raises
    ------
    DatasetError
        When a process that loads images was killed, cannot be started, is stopped for `STOPPED_CHECKS` times
        `CHECK_SECONDS` seconds, or gives nothing for `CHECKS` times as long.
    """
    try:
        batches = iter(loader)
    except OSError as error:  # no room for the queues in shared memory, or too many files
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.EAGAIN):
            raise
        raise DatasetError(f"processes that load images cannot be started ({error}). {_SPACE}") from error
    with StoppedWorkers(getattr(batches, "_workers", ())) as stopped:
        try:
            while True:
                with explain_dead_workers(reading=True):
                    batch = _next_batch(batches)
                if batch is _END:
                    return
                yield batch
        except DatasetError as error:
            raise (DatasetError(_silence(STOPPED_CHECKS)) if stopped.killed else error) from error
        finally:
            _close(batches)


def _close(batches: Iterator[Any]) -> None:
    """End the processes of a loader's iterator, whatever else still refers to it.

    As long as they are registered, PyTorch raises an error wherever the program is when it learns that one has failed.
    """
    with contextlib.suppress(RuntimeError):  # that error
        getattr(batches, "_shutdown_workers", lambda: None)()


def outlive_signals(worker: int) -> None:
    """Let a process that loads images go on for two minutes after SIGTERM or SIGHUP: the `worker_init_fn` of a loader.

    Job schedulers, `timeout` and terminals send these signals to every process of a program. The main process ends its
    loader processes itself, once it has saved; they also end when it is gone. A signal that the main process sends
    itself ends them at once. (Linux only: elsewhere the sender of a signal is not told.)
    """
    if hasattr(signal, "sigwaitinfo"):
        signals = (signal.SIGTERM, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        threading.Thread(target=_answer, args=(signals, os.getppid()), daemon=True).start()


def _answer(signals: Sequence[signal.Signals], parent: int) -> None:
    """Take the signals of this process, which its other threads have blocked."""
    while True:
        if signal.sigwaitinfo(signals).si_pid == parent:
            os._exit(0)  # PyTorch takes every other status for a failure
        signal.alarm(LAST_SECONDS)


def process_options(workers: int) -> dict[str, Any]:
    """Return the arguments of a `DataLoader` that start its processes, and let `loaded` notice when nothing comes.

    On Linux the processes are forks, unless the program has chosen a start method (`multiprocessing.set_start_method`):
    that of Python 3.14 imports everything again in each.

    Parameters
    ----------
    workers : int
        Number of processes; 0 loads in this one.
    """
    if not workers:
        return {"num_workers": 0}
    fork = sys.platform == "linux" and multiprocessing.get_start_method(allow_none=True) is None
    return {
        "num_workers": workers,
        "timeout": CHECK_SECONDS,
        "multiprocessing_context": "fork" if fork else None,
    }


class StoppedWorkers(threading.Thread):
    """Context in which a process that loads images is killed once it has been stopped, as by SIGSTOP, for long.

    The main process could otherwise wait for it in the middle of receiving a batch, where no timeout counts, and at
    the end of the program. A whole program that is stopped for a while, as by Ctrl-Z, is not affected.

    Parameters
    ----------
    workers : sequence of process
        Child processes of this one.

    Attributes
    ----------
    killed : bool
        Whether there was one.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        super().__init__(daemon=True)
        self.killed = False
        self._workers = workers
        self._end = threading.Event()

    def __enter__(self) -> StoppedWorkers:
        if self._workers and hasattr(os, "waitid"):  # not on Windows
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def run(self) -> None:
        """Look at the processes every `CHECK_SECONDS` seconds."""
        checks = dict.fromkeys(self._workers, 0)
        while not self._end.wait(CHECK_SECONDS):
            for worker in self._workers:
                checks[worker] = checks[worker] + 1 if _is_stopped(worker.pid) else 0
                if checks[worker] >= STOPPED_CHECKS:
                    self.killed = True
                    worker.kill()


def _is_stopped(pid: int) -> bool:
    """Return whether a child process is stopped, without taking notice of it for others."""
    try:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
    except OSError:  # it is gone
        return False
    return found is not None


def _next_batch(batches: Iterator[Any]) -> Any:
    """Return the next batch, or `_END`.

    A whole program that is stopped for a while, as by Ctrl-Z, misses one check only.
    """
    for _ in range(CHECKS):
        batch = _batch_in_time(batches)
        if batch is not _LATE:
            return batch
    raise DatasetError(_silence(CHECKS))


def _silence(checks: int) -> str:
    return (
        f"no image has come for {checks * CHECK_SECONDS} seconds: a process that loads images is stopped, or the "
        "storage of the dataset does not answer. A training goes on from its last checkpoint with --resume"
    )


def _batch_in_time(batches: Iterator[Any]) -> Any:
    """Return the next batch, `_END`, or `_LATE` when none has come within the loader's timeout."""
    try:
        return next(batches, _END)
    except RuntimeError as error:
        if "timed out" not in str(error):
            raise
        return _LATE


_END, _LATE = object(), object()
