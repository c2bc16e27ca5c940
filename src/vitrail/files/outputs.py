"""Files to be written: on this machine, and where none is yet unless the caller says so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vitrail.errors import VitrailError
from vitrail.files.remote import remote_address


def check_local(path: str | Path, error: type[VitrailError]) -> None:
    """Check that a path is one of this machine; as one, an address would make a folder named "s3:".

    Raises
    ------
    VitrailError
        Of the type `error`, for an address.
    """
    if address := remote_address(path):
        raise error(
            f"{address} is an address: this is written to a folder of this machine only. What goes to object storage "
            "are the results of `vitrail predict` and the parts of `vitrail evaluate --shard`"
        )


def check_free(paths: Iterable[str | Path], *, overwrite: bool, error: type[VitrailError]) -> None:
    """Check, before anything is computed, that files can be written here: they do not exist yet, or may be replaced.

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
        Of the type `error`; it names the first file and counts the others. Also for addresses.
    """
    paths = list(paths)
    for path in paths:
        check_local(path, error)
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
