"""JSON from files that may come from strangers, read within limits of size, nesting and numbers."""

from __future__ import annotations

import json
from typing import Any

from vitrail.errors import VitrailError

MAX_BYTES = 1 << 30  # annotations of large datasets have hundreds of megabytes
MAX_DIGITS = 100  # of a number


def parse_json(text: str | bytes, where: str, error: type[VitrailError]) -> Any:
    """Return the data of a JSON text.

    Parameters
    ----------
    text : str or bytes
        The text; bytes in UTF-8.
    where : str
        Where it comes from, for messages.
    error : type of VitrailError
        The error to raise.

    Raises
    ------
    VitrailError
        When the text is not JSON, longer than `MAX_BYTES`, nested deeper than the interpreter's stack, or has a number
        of more than `MAX_DIGITS` digits.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{where} has more than {MAX_BYTES:,} bytes, too many for a JSON text")
    try:
        return json.loads(text, parse_int=_integer)
    except (TypeError, ValueError) as problem:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise error(f"{where} is not valid JSON: {problem}") from problem
    except RecursionError as problem:
        raise error(f"{where} is not valid JSON: it is nested too deep") from problem


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return int(digits)
