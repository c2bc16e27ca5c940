"""Several processes that answer on one socket, each with models of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Semaphore

import torch
from typing_extensions import Unpack

from vitrail.errors import ServiceError, VitrailError
from vitrail.inference.predictor import PredictorOptions
from vitrail.runtime.host_memory import keep_freed_memory
from vitrail.serve.limits import ServiceLimits
from vitrail.serve.metrics import SHARED_FOLDER, forget_process
from vitrail.serve.models import load_models, named_models
from vitrail.serve.server import Service, check_installed, is_local, listen, url_of

_LOOK = 0.5  # seconds between looks at the processes


def serve(
    models: Sequence[str],
    *,
    workers: int = 1,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServiceLimits | None = None,
    api_key: str | None = None,
    on_start: Callable[[str], None] | None = None,
    **options: Unpack[PredictorOptions],
) -> None:
    """Serve models over HTTP until SIGINT or SIGTERM.

    Parameters
    ----------
    models : sequence of str
        As `load_models` takes them. The first one answers requests that name none.
    workers : int
        Processes, each with models of its own and its share of the threads for computing. `limits` are those of each.
    host, port, limits, api_key
        As in `Service`.
    on_start : callable, optional
        Called with the address when it is open; requests wait there until models are loaded.
    **options
        As in `load_models`.

    Raises
    ------
    ServiceError
        As `Service` does, and when a worker ends before it could serve.
    VitrailError
        When a model cannot be loaded.
    """
    check_installed()
    named_models(models)  # raises for names that are no good
    limits = limits or ServiceLimits()
    loaded = load_models(models, **options) if workers == 1 else []
    listening = listen(host, port)
    if on_start is not None:
        threading.Thread(target=on_start, args=(url_of(host, listening),), daemon=True).start()
    local = is_local(host)
    if workers == 1:
        Service(loaded, listening=listening, local=local, limits=limits, api_key=api_key).run()
        return
    threads = max(1, torch.get_num_threads() // workers)
    Workers(workers, WorkerSettings(models, options, limits, local, api_key, threads), listening).run()


@dataclass(frozen=True)
class WorkerSettings:
    """What a process needs to serve; all of it can be sent to one.

    Attributes
    ----------
    models : sequence of str
        As `load_models` takes them.
    options : PredictorOptions
        Of the models.
    limits : ServiceLimits
        Of each process.
    local : bool
        Whether the address is reached from this computer only.
    api_key : str, optional
        As in `Service`.
    threads : int
        For computing, in each process.
    """

    models: Sequence[str]
    options: PredictorOptions
    limits: ServiceLimits
    local: bool
    api_key: str | None
    threads: int


class Workers:
    """Processes that share a socket. One that dies is replaced; all end at SIGINT, SIGTERM or `stop`.

    Parameters
    ----------
    count : int
        How many.
    settings : WorkerSettings
        Of each of them.
    listening : socket
        Requests wait in it until a process takes them; closed at the end.

    Raises
    ------
    ServiceError
        By `run`, when a process ends before it could serve.
    """

    def __init__(self, count: int, settings: WorkerSettings, listening: socket.socket) -> None:
        self.count = count
        self.settings = settings
        self._socket = listening
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Semaphore(0)
        self._problems: SimpleQueue[str] = self._context.SimpleQueue()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Start the processes, and return when all have ended after finishing what they had accepted."""
        with _shared_metrics(), _on_signals(self._stopping.set):
            processes = [self._start() for _ in range(self.count)]
            try:
                while not self._stopping.wait(_LOOK):
                    for place, process in enumerate(processes):
                        if not process.is_alive():
                            processes[place] = self._replace(process)
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.join()
                self._socket.close()

    def stop(self) -> None:
        """End `run` from another thread."""
        self._stopping.set()

    def _start(self) -> SpawnProcess:
        process = self._context.Process(target=_serve, args=(self.settings, self._socket, self._ready, self._problems))
        process.start()
        return process

    def _replace(self, process: SpawnProcess) -> SpawnProcess:
        if not self._problems.empty():
            raise ServiceError(self._problems.get())
        if not self._ready.acquire(block=False):
            raise ServiceError(f"a worker ended with status {process.exitcode} before it could serve")
        forget_process(process.pid or 0)
        return self._start()


def _serve(settings: WorkerSettings, listening: socket.socket, ready: Semaphore, problems: SimpleQueue[str]) -> None:
    """Serve in a process of its own; a model that cannot be loaded is told to the first one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes: the first one ends the others
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    try:
        models = load_models(settings.models, **settings.options)
    except VitrailError as error:
        problems.put(str(error))
        return
    service = Service(
        models, listening=listening, local=settings.local, limits=settings.limits, api_key=settings.api_key
    )
    ready.release()
    service.run()


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """Give the processes of a block a folder in which they keep their figures together."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[SHARED_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[SHARED_FOLDER]


@contextlib.contextmanager
def _on_signals(act: Callable[[], None]) -> Iterator[None]:
    """Call a function at SIGINT and SIGTERM in a block; in the main thread only, where Python handles signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: act()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
