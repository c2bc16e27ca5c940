"""Compare several runs by their logs: a table, and a page with the curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import TrainingError
from vitrail.files.text_table import aligned
from vitrail.training.flatten import flatten
from vitrail.training.records import Record

LOG = "log.jsonl"


@dataclass(frozen=True)
class RunLog:
    """The log of one run.

    Attributes
    ----------
    name : str
        Its folder, as given.
    records : tuple of dict
        What its `log.jsonl` holds; see `vitrail.training.records`.
    """

    name: str
    records: tuple[Record, ...]

    @property
    def start(self) -> Record:
        """The first record: recipe, number of images, device."""
        return self.records[0]

    def evaluations(self) -> list[Record]:
        """Return the records of the evaluations."""
        return [record for record in self.records if record["event"] == "evaluation"]

    def best(self) -> Record | None:
        """Return the evaluation with the highest mIoU, or None when there was none."""
        rated = [record for record in self.evaluations() if record["miou"] is not None]
        return max(rated, key=lambda record: float(record["miou"]), default=None)

    def curve(self, event: str, key: str) -> list[tuple[float, float]]:
        """Return the points (iteration, value) of a figure, such as ("train", "loss")."""
        found = ((record["iteration"], record.get(key)) for record in self.records if record["event"] == event)
        return [(float(iteration), float(value)) for iteration, value in found if value is not None]


def read_run(folder: str | Path) -> RunLog:
    """Read the log of the run in a folder.

    Raises
    ------
    TrainingError
        When there is no log, or it is none of vitrail's.
    """
    path = Path(folder) / LOG
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrainingError(
            f"no {LOG} in {folder} ({error.strerror}): give folders of runs that have jsonl among their "
            "train.loggers, as by default"
        ) from error
    try:
        records = tuple(json.loads(line) for line in lines if line.strip())
        if not records or not all(_is_record(record) for record in records) or "recipe" not in records[0]:
            raise ValueError("it does not begin with the start of a run")
    except ValueError as error:
        raise TrainingError(f"{path} is no log of a run: {error}") from error
    return RunLog(str(folder), records)


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("event"), str) and "iteration" in record


def differences(runs: Sequence[RunLog]) -> dict[str, list[Any]]:
    """Return the keys of the recipes that differ, with the value of each run; None where a run has no such key."""
    recipes = [flatten({k: v for k, v in run.start["recipe"].items() if k not in _ABOUT}) for run in runs]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    values = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


_ABOUT = ("name", "description", "reference")


def rows(runs: Sequence[RunLog]) -> list[tuple[str, ...]]:
    """Return the table of the runs, its header first, the run with the highest mIoU at the top."""
    header = ("run", "recipe", "iterations", "loss", "best mIoU", "at", "last mIoU", "img/s")
    return [header, *(_row(run) for run in sorted(runs, key=_rank))]


def _rank(run: RunLog) -> float:
    best = run.best()
    return -float(best["miou"]) if best else 1.0


def _row(run: RunLog) -> tuple[str, ...]:
    best, evaluations, losses = run.best(), run.evaluations(), run.curve("train", "loss")
    speeds = sorted(value for _, value in run.curve("train", "images_per_second"))
    last = evaluations[-1]["miou"] if evaluations else None
    return (
        run.name,
        run.start["recipe"].get("name") or run.start["recipe"]["model"]["segmentor"],
        str(run.records[-1]["iteration"]),
        f"{losses[-1][1]:.4f}" if losses else "–",
        f"{100 * best['miou']:.2f}" if best else "–",
        str(best["iteration"]) if best else "–",
        "–" if last is None else f"{100 * last:.2f}",
        f"{speeds[len(speeds) // 2]:.1f}" if speeds else "–",
    )


def table(runs: Sequence[RunLog]) -> str:
    """Return the table for the terminal, and below it what differs in the recipes."""
    lines = list(aligned(rows(runs)))
    different = differences(runs)
    if different:
        shown = [("differing keys", *(run.name for run in runs))]
        shown += [(key, *(_short(value) for value in values)) for key, values in different.items()]
        lines += ["", *aligned(shown)]
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= 32 else f"{text[:31]}…"
