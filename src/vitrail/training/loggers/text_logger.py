"""`train.log` in the output folder and the same lines on stderr."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from vitrail.errors import TrainingError
from vitrail.files.printable import printable
from vitrail.training.loggers.logger import Logger, RunInfo, register_logger
from vitrail.training.loggers.start_lines import describe_start
from vitrail.training.plan import Plan
from vitrail.training.records import Record


@register_logger("text")
class TextLogger(Logger):
    """Writes one line for every record to `train.log` and stderr; a resumed run appends to the file."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._path = Path()
        self._plan: Plan | None = None

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Open the file and write what is about to be trained.

        Raises
        ------
        TrainingError
            When the file cannot be written; so do the methods below.
        """
        self._path = run.folder / "train.log"
        self._plan = run.plan
        try:
            self._file = self._path.open("a" if run.history else "w", encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from error
        for line in (_first_line(run), *_details(run.record)):
            self._write(line)

    def train(self, record: Record) -> None:
        """Write losses, learning rate, speed, the time left, and memory."""
        terms = " ".join(f"{name} {value:.4f}" for name, value in record["losses"].items())
        memory = record["memory_gb"]
        parts = [
            f"{self._position(record)}  loss {record['loss']:.4f}",
            *([f"({terms})"] if len(record["losses"]) > 1 else []),
            f"lr {record['lr']:.2e}  {record['images_per_second']:.1f} img/s  data {record['data_wait']:.0%}  "
            f"eta {timedelta(seconds=round(record['eta_seconds']))}",
            *([f"{memory:.2f} GB"] if memory is not None else []),
        ]
        self._write("  ".join(parts))

    def evaluation(self, record: Record) -> None:
        """Write the means over the classes."""
        figures = "  ".join(
            f"{title} {_percent(record[name])}"
            for title, name in (("mIoU", "miou"), ("mAcc", "macc"), ("aAcc", "aacc"), ("mDice", "mdice"))
        )
        self._write(
            f"{self._position(record)}  {figures}  ({record['images']} images, {record['images_per_second']:.1f}/s)"
            f"{'  threshold {:g}'.format(record['threshold']) if 'threshold' in record else ''}"
            f"{'  best' if record['best'] else ''}"
        )

    def stop(self, record: Record) -> None:
        """Write why the run ends here."""
        self._write(f"{self._position(record)}  {record['reason']}")

    def finish(self, error: BaseException | None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _position(self, record: Record) -> str:
        if self._plan is None:
            raise RuntimeError("start() has not been called")
        epochs = math.ceil(self._plan.iterations / self._plan.per_epoch)
        epoch = math.ceil(record["iteration"] / self._plan.per_epoch)
        return f"epoch {epoch}/{epochs}  iteration {record['iteration']}/{self._plan.iterations}"

    def _write(self, line: str) -> None:
        line = printable(line)
        if self._file is None:
            raise RuntimeError("start() has not been called")
        tqdm.write(line, file=sys.stderr)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> TrainingError:
        return TrainingError(f"cannot write the log {self._path}: {error}")


def _percent(value: float | None) -> str:
    """Return a figure in percent; a dash where there was no labelled pixel to count."""
    return "–" if value is None else f"{100 * value:.2f}"


def _details(record: Record) -> Iterator[str]:
    """Yield the lines behind the first one."""
    if record.get("frozen_parameters"):
        yield f"frozen: {record['frozen_parameters']:,} of {record['parameters']:,} parameters"
    if record.get("started_from"):
        yield from describe_start(record["started_from"])
    yield from record.get("notes", ())


def _first_line(run: RunInfo) -> str:
    record = run.record
    start = record["iteration"]
    if record["event"] == "complete":
        why = f" ({record['reason']})" if "reason" in record else ""
        return f"the run in {run.folder} is complete: {start} iterations{why}, nothing left to train"
    processes = f" with {record['processes']} processes" if record["processes"] > 1 else ""
    return (
        f"{'resuming' if start else 'training'} {run.recipe.name or run.recipe.model.segmentor} on "
        f"{record['device']}{processes}: {record['parameters'] / 1e6:.2f} M parameters, {record['images']} images, "
        f"{run.plan.per_epoch} iterations per epoch, iterations {start + 1} to {run.plan.iterations}"
    )
