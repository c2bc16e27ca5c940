"""The position of a run and its history, which a checkpoint restores."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vitrail.training.records import Record


@dataclass(frozen=True)
class RunState:
    """How far a run has come; every step returns a new one.

    Attributes
    ----------
    iteration : int
        Optimizer steps taken.
    best : float
        The best mIoU so far, a fraction; -1 before the first evaluation.
    history : tuple of dict
        The records of the run, oldest first; see `vitrail.training.records`.
    """

    iteration: int = 0
    best: float = -1.0
    history: tuple[Record, ...] = ()

    def with_record(self, record: Record) -> RunState:
        """Return the state with one more record."""
        return replace(self, history=(*self.history, record))
