"""Environment variables that switch something on or off."""

from __future__ import annotations

import os

from vitrail.errors import VitrailError

_ON = ("1", "true", "yes", "on")
_OFF = ("", "0", "false", "no", "off")


def env_switch(name: str) -> bool:
    """Return whether the environment variable `name` is on (1, true, yes, on) or off (unset, 0, false, no, off).

    Raises
    ------
    VitrailError
        For any other value.
    """
    value = os.environ.get(name, "").strip().lower()
    if value not in (*_ON, *_OFF):
        raise VitrailError(f"the environment variable {name} is {value!r}: set it to 1 or 0, or unset it")
    return value in _ON
