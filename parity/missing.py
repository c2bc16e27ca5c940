"""The error for a toolbox that is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingToolboxError(ImportError):
    """A toolbox that a comparison needs is not installed."""


def require(module: str, title: str) -> ModuleType:
    """Import a module of another toolbox.

    Raises
    ------
    MissingToolboxError
        When it is not installed; tests are then skipped.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingToolboxError(f"{title} is not installed (pip install -e '.[parity]'): {error}") from error
