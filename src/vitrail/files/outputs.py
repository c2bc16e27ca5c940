"""Files that are there already: never replaced unless the caller says so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vitrail.errors import VitrailError


def check_free(paths: Iterable[str | Path], *, overwrite: bool, error: type[VitrailError]) -> None:
    """Check, before anything is computed, that files to be written do not exist yet, or may be replaced.

    Parameters
    ----------
    paths : iterable of path
        The files.
    overwrite : bool
        Whether they may be replaced.
    error : type
        The error to raise.

    Raises
    ------
    VitrailError
        Of the type `error`; it names the first file and counts the others.
    """
    if overwrite:
        return
    taken = [path for path in paths if os.path.lexists(path)]
    if taken:
        raise error(
            f"{taken[0]} exists{and_more(len(taken))}: --overwrite (overwrite=True) replaces it; or choose another"
        )


def and_more(count: int) -> str:
    """Return how many files besides the one that is named exist, for a message."""
    return f", and {count - 1} more of the files to write" if count > 1 else ""
