"""`log.jsonl` in the output folder: every record of the run, one JSON object in a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from vitrail.errors import TrainingError
from vitrail.files.atomic import atomic_path
from vitrail.training.loggers.logger import Logger, RunInfo, register_logger
from vitrail.training.records import Record


@register_logger("jsonl")
class JSONLLogger(Logger):
    """Writes `log.jsonl`; a resumed run first replaces it by the records up to its checkpoint."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._path = Path()

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Write the history, then the first record.

        Raises
        ------
        TrainingError
            When the file cannot be written; so do the methods below.
        """
        self._path = run.folder / "log.jsonl"
        try:
            with atomic_path(self._path) as temporary:
                temporary.write_text("".join(_line(record) for record in run.history), encoding="utf-8")
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from error
        if run.record["event"] != "complete":
            self.train(run.record)

    def train(self, record: Record) -> None:
        """Write a record."""
        if self._file is None:
            raise RuntimeError("start() has not been called")
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def evaluation(self, record: Record) -> None:
        """Write a record."""
        self.train(record)

    def stop(self, record: Record) -> None:
        """Write a record."""
        self.train(record)

    def finish(self, error: BaseException | None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _cannot_write(self, error: OSError) -> TrainingError:
        return TrainingError(f"cannot write the log {self._path}: {error}")


def _line(record: Record) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
