"""Reading annotation files of JSON."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitrail.datasets.text_files import read_text
from vitrail.errors import DatasetError
from vitrail.files.json_text import parse_json

# What data of another kind than a format has make Python, NumPy, Pillow and zlib raise.
_UNFORESEEN = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError),
    *(struct.error, zlib.error),
)


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


@contextlib.contextmanager
def as_described(where: object) -> Iterator[None]:
    """Context in which an annotation file is taken apart as its format describes it.

    Parameters
    ----------
    where : str or Path
        The file, for messages.

    Raises
    ------
    DatasetError
        In place of what Python raises when a part is missing, or is anything else than it should be.
    """
    try:
        yield
    except DatasetError:
        raise
    except _UNFORESEEN as error:
        raise DatasetError(
            f"{where} is not as its format describes ({type(error).__name__}: {str(error)[:300]}): export it anew"
        ) from error
