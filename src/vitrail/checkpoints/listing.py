"""Filter and print the index of published checkpoints."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from vitrail.checkpoints.index import PROJECTS, Entry, index
from vitrail.errors import CheckpointError, nearest
from vitrail.files.text_table import aligned


def list_weights(
    name: str = "",
    *,
    method: str | None = None,
    backbone: str | None = None,
    dataset: str | None = None,
    project: str | None = None,
    supported: bool | None = None,
) -> list[Entry]:
    """Return the published checkpoints that fit every filter, by name.

    Parameters
    ----------
    name : str
        Part of the name, or a pattern with "*" and "?".
    method, backbone, dataset : str, optional
        As `Entry` has them; a backbone also without the tag of its pretrained weights.
    project : str, optional
        A key of `vitrail.checkpoints.index.PROJECTS`.
    supported : bool, optional
        True for those that vitrail loads, False for those it does not load yet, None for both.

    Raises
    ------
    CheckpointError
        When nothing fits because a filter's value occurs nowhere; the message suggests the nearest one.
    """
    pattern = name if any(letter in name for letter in "*?[") else f"*{name}*"
    wanted = {"method": method, "backbone": backbone, "dataset": dataset, "project": project}
    for key, value in wanted.items():
        known = {_bare(key, getattr(entry, key)) for entry in index().values()} | set(PROJECTS)
        if value is not None and _bare(key, value) not in known:
            raise CheckpointError(f"no published model has {key} {value!r}.{nearest(value, known)}")
    return [
        entry
        for entry in index().values()
        if fnmatch.fnmatchcase(entry.name, pattern)
        and all(v is None or _bare(key, getattr(entry, key)) == _bare(key, v) for key, v in wanted.items())
        and (supported is None or supported is not bool(entry.unsupported))
    ]


def _bare(key: str, value: str) -> str:
    return value.partition(".")[0] if key == "backbone" else value


def weights_table(entries: Sequence[Entry]) -> str:
    """Return a table of checkpoints, a line each, and how many of them vitrail loads."""
    rows = [("name", "method", "backbone", "dataset", "mIoU", "")]
    for entry in entries:
        figure = "" if entry.miou is None else f"{100 * entry.miou:.2f}"
        rows.append((entry.name, entry.method, entry.backbone, entry.dataset, figure, entry.unsupported and "not yet"))
    loaded = sum(not entry.unsupported for entry in entries)
    return "\n".join([*aligned(rows), "", f"{len(entries)} published checkpoints, {loaded} of them load"])
