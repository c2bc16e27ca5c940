"""Reading annotation files of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError
from vitrail.files.json_text import parse_json


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DatasetError
        When it cannot be read.
    """
    return parse_json(read_text(path), str(path), DatasetError)


def peek_json(path: Path) -> Any:
    """Return the content of a JSON file, or None when it is none."""
    try:
        return read_json(path)
    except DatasetError:
        return None


def wrong_entry(path: Path, error: Exception) -> DatasetError:
    """Return the error for an annotation file that lacks what its format says it has."""
    return DatasetError(f"{path} is not as its format describes ({type(error).__name__}: {error}): export it anew")
