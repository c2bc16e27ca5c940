"""Filter and print the index of published checkpoints."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from vitrail.checkpoints.index import PROJECTS, Entry, index
from vitrail.checkpoints.index.hubs import HUBS, hub_models
from vitrail.errors import CheckpointError, nearest
from vitrail.files.text_table import aligned

# What models that were trained on a dataset are for.
TASKS: dict[str, tuple[str, ...]] = {
    "aerial": ("isaid", "loveda", "potsdam", "vaihingen"),
    "driving": ("cityscapes", "mapillary_v1"),
    "medical": ("chase_db1", "drive", "hrf", "stare"),
    "objects": ("voc",),
    "people": ("atr", "cihp", "lip"),
    "scenes": (
        *("ade20k", "coco_stuff", "coco_stuff_10k", "coco_stuff_10k_171", "NYUDataset"),
        *("pascal_context", "pascal_context_59", "vspw"),
    ),
}


def list_weights(
    name: str = "",
    *,
    method: str | None = None,
    backbone: str | None = None,
    dataset: str | None = None,
    project: str | None = None,
    supported: bool | None = None,
    task: str | None = None,
    license: str | None = None,
    commercial: bool = False,
) -> list[Entry]:
    """Return the published checkpoints that fit every filter: those of the index, then those on hubs.

    Parameters
    ----------
    name : str
        Part of the name, or a pattern with "*" and "?".
    method, backbone, dataset : str, optional
        As `Entry` has them; a backbone also without the tag of its pretrained weights.
    project : str, optional
        How the names begin: mmseg, ssseg, torchvision, smp-hub or hf.
    supported : bool, optional
        True for those that vitrail loads, False for those it does not load yet, None for both.
    task : str, optional
        A key of `TASKS`: what the dataset shows.
    license : str, optional
        Part of the licence, such as "Apache".
    commercial : bool
        Leave out those that may not be used commercially, and those whose licence is told on their page only.

    Raises
    ------
    CheckpointError
        When nothing fits because a filter's value occurs nowhere; the message suggests the nearest one.
    """
    pattern = name if any(letter in name for letter in "*?[") else f"*{name}*"
    wanted = {"method": method, "backbone": backbone, "dataset": dataset, "project": project}
    entries = [*index().values(), *hub_models().values()]
    for key, value in wanted.items():
        known = {_bare(key, getattr(entry, key)) for entry in entries} | {*PROJECTS, *HUBS}
        if value is not None and _bare(key, value) not in known:
            raise CheckpointError(f"no published model has {key} {value!r}.{nearest(value, known)}")
    if task is not None and task not in TASKS:
        raise CheckpointError(f"no published model is for the task {task!r}.{nearest(task, TASKS)}")
    if license is not None and not any(license.lower() in entry.terms.lower() for entry in entries):
        known = {entry.terms for entry in entries} - {""}
        raise CheckpointError(f"no published model has a licence {license!r}; there are {', '.join(sorted(known))}")
    return [
        entry
        for entry in entries
        if fnmatch.fnmatchcase(entry.name, pattern)
        and all(v is None or _bare(key, getattr(entry, key)) == _bare(key, v) for key, v in wanted.items())
        and (supported is None or supported is not bool(entry.unsupported))
        and (task is None or entry.dataset in TASKS[task])
        and (license is None or license.lower() in entry.terms.lower())
        and (entry.commercial or not commercial)
    ]


def _bare(key: str, value: str) -> str:
    return value.partition(".")[0] if key == "backbone" else value


def weights_table(entries: Sequence[Entry]) -> str:
    """Return a table of checkpoints, a line each, and how many of them vitrail loads."""
    rows = [("name", "method", "backbone", "dataset", "mIoU", "")]
    for entry in entries:
        figure = "" if entry.miou is None else f"{100 * entry.miou:.2f}"
        rows.append((entry.name, entry.method, entry.backbone, entry.dataset, figure, _remark(entry)))
    loaded = sum(not entry.unsupported for entry in entries)
    return "\n".join([*aligned(rows), "", f"{len(entries)} published checkpoints, {loaded} of them load"])


def _remark(entry: Entry) -> str:
    """Return what speaks against an entry: that it does not load yet, or its licence."""
    if entry.unsupported:
        return "not yet"
    if entry.non_commercial:
        return "non-commercial"
    return "" if entry.terms else "licence: see its page"
