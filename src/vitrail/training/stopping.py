"""Ending a run before its plan does: when the figures no longer improve, or the time is up."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
