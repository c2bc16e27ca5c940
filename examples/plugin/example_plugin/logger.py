"""A logger: the loss of every logged window as a line of a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from vitrail import Logger, RunInfo, register_logger


@register_logger("example_csv")
class CSVLogger(Logger):
    """Writes iteration and loss to a CSV file in the output folder.

    Parameters
    ----------
    file : str
        Name of the file.
    """

    def __init__(self, *, file: str = "losses.csv") -> None:
        self.name = file
        self.file: TextIO | None = None

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Open the file; a resumed run appends to it."""
        self.file = (run.folder / self.name).open("a" if run.history else "w", encoding="utf-8")

    def train(self, record: dict[str, Any]) -> None:
        """Write a line."""
        if self.file is not None:
            self.file.write(f"{record['iteration']},{record['loss']:.6f}\n")
            self.file.flush()

    def finish(self, error: BaseException | None) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
