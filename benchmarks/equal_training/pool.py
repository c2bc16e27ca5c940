"""Several processes that work through the runs, within a budget of time."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection as connections
from multiprocessing import get_context

from benchmarks.equal_training.jobs import Job
from benchmarks.equal_training.recorder import Point
from benchmarks.equal_training.settings import Plan

LEFT_OUT, UNFINISHED, DIED = "left out: no time", "not finished in time", "its process died"


@dataclass
class Run:
    """What became of a job.

    Attributes
    ----------
    job : Job
        The job.
    points : list of Point
        In the order of their iterations.
    seconds : float or None
        How long it took, once it is finished.
    groups : dict
        How many weights learn how fast.
    problem : str
        Why it is not finished.
    """

    job: Job
    points: list[Point] = field(default_factory=list)
    seconds: float | None = None
    groups: dict[str, int] = field(default_factory=dict)
    problem: str = ""


class _Worker:
    """A process with the connection to it, and the run that it is at."""

    def __init__(self, plan: Plan) -> None:
        from benchmarks.equal_training.work import serve  # heavy imports, needed in the process only

        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, plan))
        self.process.start()
        theirs.close()
        self.run: Run | None = None

    def begin(self, run: Run) -> None:
        self.run = run
        self.connection.send(run.job)

    def end(self) -> None:
        """End the process and all that it started."""
        self.connection.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # before it has a group of its own
        self.process.join()


class Pool:
    """Works through jobs in several processes.

    Parameters
    ----------
    plan : Plan
        The size of the runs.
    processes : int
        How many go on at once.
    end : float
        By the monotonic clock: when all are ended.
    changed : callable
        Called when a run has ended, however it did.
    """

    def __init__(self, plan: Plan, *, processes: int, end: float, changed: Callable[[Run], None]) -> None:
        self._plan, self._processes, self._end, self._changed = plan, processes, end, changed
        self._took: dict[tuple[str, str, str, str], list[float]] = {}

    def work(self, jobs: Sequence[Job]) -> None:
        """Make the runs, those that can no longer be finished excepted."""
        waiting = list(jobs)
        workers = [_Worker(self._plan) for _ in range(min(self._processes, len(jobs)))]
        try:
            idle = list(workers)
            while time.monotonic() < self._end:
                while idle and (job := self._next(waiting)):
                    idle.pop().begin(Run(job))
                busy = [worker for worker in workers if worker.run]
                if not busy:
                    break
                ready = connections.wait([worker.connection for worker in busy], self._end - time.monotonic())
                over = [worker for worker in busy if worker.connection in ready and self._receive(worker)]
                idle += [worker if worker.process.is_alive() else self._replace(workers, worker) for worker in over]
        finally:
            for worker in workers:
                worker.end()
        for worker in workers:
            if worker.run:
                self._stop(worker.run, UNFINISHED)
        for job in waiting:
            self._stop(Run(job), LEFT_OUT)

    def _replace(self, workers: list[_Worker], dead: _Worker) -> _Worker:
        """Put a new process in the place of one that died."""
        dead.end()
        workers.remove(dead)
        workers.append(_Worker(self._plan))
        return workers[-1]

    def _next(self, waiting: list[Job]) -> Job | None:
        """Take the first job that can be finished in time."""
        left = self._end - time.monotonic()
        for job in waiting:
            if self._estimate(job) <= left:
                waiting.remove(job)
                return job
        return None

    def _estimate(self, job: Job) -> float:
        """Return how long a job may take: as the same with another seed, or as a usual one."""
        known = self._took.get(job.key) or [seconds for times in self._took.values() for seconds in times]
        return statistics.median(known) if known else 0.0

    def _receive(self, worker: _Worker) -> bool:
        """Take a message; return whether the run is over."""
        run = worker.run
        assert run is not None
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            self._over(worker, problem=DIED)
            return True
        if kind == "point":
            run.points.append(content)
            return False
        if kind == "failed":
            self._over(worker, problem=content)
        else:
            run.seconds, run.groups = content
            self._took.setdefault(run.job.key, []).append(run.seconds)
            self._over(worker)
        return True

    def _over(self, worker: _Worker, problem: str = "") -> None:
        run, worker.run = worker.run, None
        assert run is not None
        self._stop(run, problem)

    def _stop(self, run: Run, problem: str) -> None:
        run.problem = problem
        self._changed(run)
