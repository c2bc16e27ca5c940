"""Environment variables: switches and numbers."""

from __future__ import annotations

import os

from vitrail.errors import VitrailError

_ON = ("1", "true", "yes", "on")
_OFF = ("0", "false", "no", "off")
_MOST_DIGITS = 18  # of a number; Python refuses to read thousands


def env_switch(name: str, *, default: bool = False) -> bool:
    """Return whether the environment variable `name` is on (1, true, yes, on) or off (0, false, no, off).

    `default` is the answer when it is unset or empty.

    Raises
    ------
    VitrailError
        For any other value.
    """
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value not in (*_ON, *_OFF):
        raise VitrailError(f"the environment variable {name} is {value!r}: set it to 1 or 0, or unset it")
    return value in _ON


def env_number(name: str, default: int) -> int:
    """Return the whole number, 0 or more, in the environment variable `name`; `default` when it is unset or empty.

    Raises
    ------
    VitrailError
        For anything else.
    """
    value = os.environ.get(name, "").strip()
    number = whole_number(value) if value else default
    if number is None:
        raise VitrailError(f"the environment variable {name} is {value[:100]!r}: set it to a number, or unset it")
    return number


def whole_number(text: str) -> int | None:
    """Return the number that decimal digits stand for, None for other text and for more digits than any number has."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None
