"""Ending a run before its plan does: when the figures no longer improve, or the time is up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from vitrail.recipes import EarlyStoppingConfig
from vitrail.runtime.distributed import on_main, world_size
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

    Only the main thread can receive signals; elsewhere they keep their effect.
    """

    def __init__(self) -> None:
        self._received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> TerminationSignals:
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

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def received(self, *, agree: bool) -> int:
        """Return the number of the signal that came, or 0; all processes get the answer of rank 0.

        Parameters
        ----------
        agree : bool
            As in `Clock.is_up`. torchrun sends SIGTERM to all of its processes, and kills them half a minute later.
        """
        if world_size() > 1 and not agree:
            return 0
        return on_main(lambda: self._received)
