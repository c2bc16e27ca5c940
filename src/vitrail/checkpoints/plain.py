"""Plain data with lists or tuples throughout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_tuples(value: Any) -> Any:
    """Return plain data with tuples for lists, so that both compare equal."""
    if isinstance(value, (list, tuple)):
        return tuple(as_tuples(item) for item in value)
    return value


def as_lists(value: Any) -> Any:
    """Return plain data with lists for tuples, as JSON and YAML have them."""
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_lists(item) for key, item in value.items()}
    return value
