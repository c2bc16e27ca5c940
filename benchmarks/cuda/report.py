"""The results as JSON and as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cuda.card import Card
from benchmarks.cuda.checks import Check
from benchmarks.cuda.rows import VITRAIL, Row
from benchmarks.cuda.timing import Timing
from benchmarks.cuda.workload import Workload


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes
    ----------
    row : Row
        The row.
    timing : Timing or None
        Its timing.
    tflop : float or None
        The floating-point operations of a step, in 10^12.
    problem : str
        Why there is none.
    """

    row: Row
    timing: Timing | None = None
    tflop: float | None = None
    problem: str = ""

    def share(self, card: Card) -> float | None:
        """Return the share of the measured matrix rate."""
        if self.timing is None or not self.tflop:
            return None
        return self.tflop / self.timing.milliseconds * 1000 / card.matrix_tflops

    def line(self, card: Card) -> str:
        """Return one line of text."""
        if self.timing is None:
            return f"{self.row}: {self.problem}"
        timing, share = self.timing, self.share(card)
        memory = "" if timing.gib is None else f", {timing.gib:.2f} GiB"
        rate = "" if share is None else f", {share:.1%} of the matrix rate"
        return (
            f"{self.row}: {timing.milliseconds:.3f} ms ({timing.fastest:.3f} to {timing.slowest:.3f}, "
            f"{timing.steps} steps, first {timing.first_seconds:.1f} s){memory}{rate}"
        )


@dataclass(frozen=True)
class Report:
    """All results of a run."""

    card: Card
    checks: Sequence[Check]
    outcomes: Sequence[Outcome]

    def write(self, folder: Path) -> None:
        """Write gpu.json and gpu.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.json").write_text(json.dumps(self.data(), indent=1) + "\n")
        (folder / "gpu.md").write_text(self.markdown())

    def data(self) -> dict[str, object]:
        """Return plain data."""
        rows = [
            {
                "work": outcome.row.work.name,
                "shape": outcome.row.work.shape,
                "toolbox": outcome.row.toolbox,
                "how": outcome.row.how,
                "timing": None if outcome.timing is None else asdict(outcome.timing),
                "tflop": outcome.tflop,
                "share": outcome.share(self.card),
                "problem": outcome.problem,
            }
            for outcome in self.outcomes
        ]
        return {"card": self.card.data(), "checks": [check.data() for check in self.checks], "rows": rows}

    def markdown(self) -> str:
        """Return all tables."""
        parts = [str(self.card), self.summary()]
        if self.checks:
            parts += ["\n".join(f"- {check}" for check in self.checks)]
        parts += [self._table(work) for work in self._works()]
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """Return the table of vitrail's best beside the best of all others."""
        lines = [
            "| work | vitrail ms | best other ms | times faster | least vitrail GiB | least other GiB | memory ratio |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        return "\n".join([*lines, *(self._summary_row(work) for work in self._works())])

    def _works(self) -> list[Workload]:
        return list(dict.fromkeys(outcome.row.work for outcome in self.outcomes))

    def _of(self, work: Workload) -> tuple[list[Outcome], list[Outcome]]:
        """Return the outcomes of vitrail and of the others that have a timing."""
        timed = [outcome for outcome in self.outcomes if outcome.row.work == work and outcome.timing]
        mine = [outcome for outcome in timed if outcome.row.toolbox == VITRAIL]
        return mine, [outcome for outcome in timed if outcome.row.toolbox != VITRAIL]

    def _summary_row(self, work: Workload) -> str:
        mine, others = self._of(work)
        fastest, rival = _fastest(mine), _fastest(others)
        least, least_other = _least(mine), _least(others)
        cells = [
            f"{work.title}, {work.shape}",
            _named(fastest),
            _named(rival, toolbox=True),
            _ratio(_time(rival), _time(fastest)),
            "" if least is None else f"{least:.2f}",
            "" if least_other is None else f"{least_other:.2f}",
            _ratio(least, least_other),
        ]
        return "| " + " | ".join(cells) + " |"

    def _table(self, work: Workload) -> str:
        lines = [f"{work.title}, {work.shape}", ""]
        lines += ["| toolbox | how | ms | GiB | share of the matrix rate |", "| --- | --- | --- | --- | --- |"]
        for outcome in self.outcomes:
            if outcome.row.work != work:
                continue
            timing, share = outcome.timing, outcome.share(self.card)
            time = outcome.problem.replace("|", "/") if timing is None else f"{timing.milliseconds:.3f}"
            memory = "" if timing is None or timing.gib is None else f"{timing.gib:.2f}"
            rate = "" if share is None else f"{share:.1%}"
            lines.append(f"| {outcome.row.toolbox} | {outcome.row.how} | {time} | {memory} | {rate} |")
        return "\n".join(lines)


def _fastest(outcomes: Sequence[Outcome]) -> Outcome | None:
    timed = [outcome for outcome in outcomes if outcome.timing]
    return min(timed, key=lambda outcome: _time(outcome) or 0.0, default=None)


def _time(outcome: Outcome | None) -> float | None:
    return outcome.timing.milliseconds if outcome and outcome.timing else None


def _least(outcomes: Sequence[Outcome]) -> float | None:
    known = [outcome.timing.gib for outcome in outcomes if outcome.timing and outcome.timing.gib is not None]
    return min(known, default=None)


def _named(outcome: Outcome | None, *, toolbox: bool = False) -> str:
    time = _time(outcome)
    if outcome is None or time is None:
        return ""
    label = f"{outcome.row.toolbox}, {outcome.row.how}" if toolbox else outcome.row.how
    return f"{time:.2f} ({label})"


def _ratio(above: float | None, below: float | None) -> str:
    return "" if above is None or not below else f"{above / below:.2f}"
