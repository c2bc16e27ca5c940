"""The list of images that could not be segmented, as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitrail.errors import PredictionError, VitrailError
from vitrail.files.atomic import atomic_path
from vitrail.files.output_folder import open_output_folder, shown_path

_MAX_SHOWN = 5


class Failures:
    """Collects the images that could not be read.

    Attributes
    ----------
    count : int
        Number of them.
    """

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._entries)

    def add(self, name: str, error: VitrailError) -> None:
        """Note an image and what is wrong with it."""
        self._entries.append({"id": name, "error": str(error), "kind": type(error).__name__})

    @staticmethod
    def check(path: Path, *, overwrite: bool) -> None:
        """Check, before anything is computed, that a list may be written to a file: to one that holds such a list.

        Raises
        ------
        PredictionError
            When there is something else, which only `overwrite` replaces.
        """
        folder, name = open_output_folder(path.parent), path.name
        if overwrite or not folder.taken(name):
            return
        text = folder.read(name)
        try:
            entries = [json.loads(line) for line in text.splitlines()]
            if all(entry.keys() == {"id", "error", "kind"} for entry in entries):
                return
        except (AttributeError, ValueError, RecursionError):
            pass
        raise PredictionError(
            f"{folder.locate(name)} exists and is no list of failures: --overwrite replaces it, or choose another"
        )

    def write(self, path: Path) -> None:
        """Write a line for each image, a JSON object with "id", "error" and "kind" (the class of the error).

        Raises
        ------
        PredictionError
            When the file cannot be written.
        """
        folder, name = open_output_folder(path.parent), path.name
        try:
            with folder.writing(name) as file, atomic_path(file) as temporary:
                temporary.write_text("".join(f"{json.dumps(entry)}\n" for entry in self._entries), encoding="utf-8")
        except OSError as error:
            raise PredictionError(f"cannot write the list of failures {folder.locate(name)}: {error}") from error

    def message(self, written: int, folder: str, listed: Path | None) -> str:
        """Return the message for the end of a prediction: the count, and the first ones.

        Parameters
        ----------
        written : int
            Number of other images.
        folder : str
            Where their results are.
        listed : Path or None
            The file of all failures.
        """
        others = f" (the others are in {folder})" if written else ""
        where = f", all listed in {shown_path(listed)}" if listed else ""
        more = f"\n… and {self.count - _MAX_SHOWN} more" if self.count > _MAX_SHOWN else ""
        shown = "\n".join(entry["error"] for entry in self._entries[:_MAX_SHOWN])
        return f"{self.count} of {written + self.count} images could not be read{others}{where}:\n{shown}{more}"
