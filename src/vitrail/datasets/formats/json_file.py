"""Reading annotation files of JSON."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError
from vitrail.files.foreign import foreign_data
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


def as_described(where: object) -> AbstractContextManager[None]:
    """Return the context in which an annotation file is taken apart as its format describes it.

    Parameters
    ----------
    where : str or Path
        The file, for messages.

    Raises
    ------
    DatasetError
        In place of what Python raises when a part is missing, or is anything else than it should be.
    """
    return foreign_data(DatasetError, lambda error: f"{where} is not as its format describes ({error}): export it anew")
