"""Ending a run before its plan does: when the figures no longer improve, or the time is up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import distributed as dist

from vitrail.recipes import EarlyStoppingConfig
from vitrail.runtime.distributed import on_main, side_group, world_size
from vitrail.training.records import Record


def no_improvement(config: EarlyStoppingConfig | None, history: Sequence[Record]) -> str | None:
    """Return why a run ends early, or None while it should go on.

    Parameters
    ----------
    config : EarlyStoppingConfig or None
        `train.early_stopping`.
    history : sequence of dict
        The records of the run.
    """
    if config is None:
        return None
    best, since = -1.0, 0
    for record in history:
        if record["event"] != "evaluation":
            continue
        value = record[config.metric]
        if value is not None and value > best + config.min_delta:
            best, since = value, 0
        else:
            since += 1
    if since < config.patience:
        return None
    return (
        f"early stopping: {config.metric} has not risen above {best:.4f} by more than {config.min_delta:g} in "
        f"{since} evaluations (train.early_stopping.patience={config.patience})"
    )


class Clock:
    """Measures the time since a run was started or resumed; all processes agree on when it is up.

    Parameters
    ----------
    minutes : float or None
        `train.max_minutes`.
    """

    def __init__(self, minutes: float | None) -> None:
        self.minutes = minutes
        self._begin = time.monotonic()

    def is_up(self, *, agree: bool) -> bool:
        """Return whether the time is up.

        Parameters
        ----------
        agree : bool
            Whether several processes may talk to each other in this iteration; in others they go on.
        """
        if self.minutes is None or (world_size() > 1 and not agree):
            return False
        limit = 60 * self.minutes
        return on_main(lambda: time.monotonic() - self._begin >= limit)


class TerminationSignals:
    """Context in which SIGTERM and SIGHUP are noted instead of ending the process, for a run to save and then end.

    Only the main thread can receive signals; elsewhere they keep their effect. When torchrun ends the processes because
    one has died, the others wait for that one: they end by the error of that, or when torchrun kills them after half a
    minute.
    """

    def __init__(self) -> None:
        self._received = 0
        self._before: dict[int, Any] = {}
        self._group: Any = None
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __enter__(self) -> TerminationSignals:
        if world_size() > 1:
            self._group = side_group()
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._asked is not None and kind is None:
            self._asked[1].wait()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def agree(self) -> int:
        """Return the number of the signal that any process has received, or 0; every process calls this in every step.

        In a run of several processes it is what was known in the step before, so that none waits for the others and all
        end in the same step.
        """
        if self._group is None:
            return self._received
        answer = 0
        if self._asked is not None:
            number, work = self._asked
            work.wait()
            answer = int(number)
        number = torch.tensor(self._received)
        self._asked = number, dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return answer
