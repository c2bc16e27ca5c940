"""Environment variables that switch something on or off."""

from __future__ import annotations

import os

from vitrail.errors import VitrailError

_ON = ("1", "true", "yes", "on")
_OFF = ("0", "false", "no", "off")


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
