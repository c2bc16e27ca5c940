"""Strict reading of other projects' configurations: a setting that nobody asked for is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.plain import as_tuples
from vitrail.errors import CheckpointError

_MISSING = object()


class UnsupportedError(CheckpointError):
    """A configuration that asks for what vitrail does not compute."""


class Settings:
    """One section of another project's configuration.

    Every key has to be taken, held against what vitrail computes, or passed over by name; `finish` refuses the rest.

    Parameters
    ----------
    values : mapping
        The section.
    where : str
        What it is called, for messages.
    """

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, Mapping):
            raise UnsupportedError(f"{where} should be a mapping, not {values!r}")
        self._left = dict(values)
        self.where = where

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """Return a value, or the default where the key is missing.

        Raises
        ------
        UnsupportedError
            When the key is missing and has no default.
        """
        if key not in self._left:
            if default is _MISSING:
                raise UnsupportedError(f"{self.where} has no {key}")
            return default
        return self._left.pop(key)

    def peek(self, key: str, default: Any = None) -> Any:
        """Return a value and leave it there."""
        return self._left.get(key, default)

    def section(self, key: str) -> Settings:
        """Return the section under a key."""
        return Settings(self.take(key), f"{self.where}.{key}")

    def must_be(self, key: str, *allowed: Any) -> None:
        """Refuse any value but these; a missing key is fine."""
        if key in self._left:
            value = as_tuples(self._left.pop(key))
            if value not in [as_tuples(one) for one in allowed]:
                raise UnsupportedError(f"{self.where}.{key} is {value!r}, which vitrail does not compute")

    def pass_over(self, *keys: str) -> None:
        """Leave out what says nothing about the function that the model computes."""
        for key in keys:
            self._left.pop(key, None)

    def finish(self) -> None:
        """Refuse what is left.

        Raises
        ------
        UnsupportedError
            Naming the keys that nobody asked for.
        """
        if self._left:
            raise UnsupportedError(f"{self.where} says {', '.join(map(str, self._left))}, which vitrail does not know")
