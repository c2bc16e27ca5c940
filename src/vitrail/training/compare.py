"""Compare several runs by their logs: a table, and a page with the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import TrainingError
from vitrail.files.foreign import foreign_data
from vitrail.files.json_text import parse_json
from vitrail.files.regular import read_regular
from vitrail.files.text_table import aligned
from vitrail.training.flatten import flatten
from vitrail.training.records import Record

LOG = "log.jsonl"
_FIGURES = ("loss", "lr", "miou", "images_per_second")


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
    if not path.exists():
        raise TrainingError(
            f"no {LOG} in {folder}: give folders of runs that have jsonl among their train.loggers, as by default"
        )
    lines = read_regular(path, TrainingError).splitlines()
    with foreign_data(TrainingError, lambda error: f"{path} is no log of a run ({error})"):
        records = tuple(
            parse_json(line, f"{path} is no log of a run: line {number}", TrainingError)
            for number, line in enumerate(lines, 1)
            if line.strip()
        )
        for record in records:
            _check_record(record)
        name = records[0]["recipe"].get("name") or records[0]["recipe"]["model"]["segmentor"]
        if not isinstance(name, str):
            raise TypeError("the name of its recipe is no text")
    return RunLog(str(folder), records)


def _check_record(record: Record) -> None:
    """Raise what Python does for a record without the parts that are compared, or with other kinds of values."""
    figures = [record["iteration"], *(record.get(key) for key in _FIGURES)]
    if record["event"] == "evaluation":
        figures.append(record["miou"])
    wrong = next((value for value in figures[1:] if not isinstance(value, float | int | None)), None)
    if wrong is not None or not isinstance(record["iteration"], int):
        raise TypeError("a figure in it is no number")


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
