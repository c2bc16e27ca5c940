"""Splits of datasets: random ones where there are none, and the choice of one by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch

from vitrail.datasets.files_path import Place
from vitrail.errors import DatasetError, nearest

Item = TypeVar("Item")

USUAL_VAL_FRACTION = 0.2
_NAMES = {
    **{"train": "train", "training": "train", "trainval": "trainval", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
}


def split_name(name: str) -> str:
    """Return the usual name of a split: "val" for valid, Validation and dev, "train" for Train."""
    return _NAMES.get(name.lower(), name)


def draw_split(items: Sequence[Item], val_fraction: float, seed: int) -> dict[str, list[Item]]:
    """Return items as "train" and "val", in their order; the same for the same number of items and seed.

    Parameters
    ----------
    items : sequence
        Such as images.
    val_fraction : float
        Fraction in "val": one item at least, and not all of them.
    seed : int
        Of the random choice.

    Raises
    ------
    DatasetError
        When the fraction is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise DatasetError(f"data.options.val_fraction={val_fraction} should lie between 0 and 1")
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    count = min(max(1, round(len(items) * val_fraction)), len(items) - 1)
    held_out = set(order[: max(count, 0)])
    return {
        "train": [item for index, item in enumerate(items) if index not in held_out],
        "val": [item for index, item in enumerate(items) if index in held_out],
    }


def complete_splits(
    splits: Mapping[str, Sequence[Item]], val_fraction: float | None, seed: int
) -> dict[str, list[Item]]:
    """Return splits with "all", and with random ones where a dataset has none of its own.

    Splits that a dataset comes with stay as they are. Where there is neither "train" nor "val", both are taken from
    everything but "test". Where there is "train" alone, "val" is taken from it only if `val_fraction` is given.

    Parameters
    ----------
    splits : mapping from str to sequence
        What a dataset comes with; "all" holds what belongs to no split.
    val_fraction : float or None
        As in `draw_split`; None is a fifth, and keeps "train" whole.
    seed : int
        As in `draw_split`.
    """
    found = {name: list(part) for name, part in splits.items()}
    everything = [item for part in found.values() for item in part]
    rest = [item for name, part in found.items() if name != "test" for item in part]
    if "val" not in found and (val_fraction is not None or "train" not in found) and rest:
        fraction = USUAL_VAL_FRACTION if val_fraction is None else val_fraction
        found |= draw_split(found.get("train", rest), fraction, seed)
    return {**found, "all": everything}


def pick_split(root: Place, splits: Mapping[str, list[Item]], split: str) -> list[Item]:
    """Return the items of one split; "all" is one of them.

    Raises
    ------
    DatasetError
        When there is no such split, or nothing in it.
    """
    if split not in splits:
        held_out = " data.options.val_fraction=0.2 holds out a fifth of 'train' for it." if split == "val" else ""
        raise DatasetError(
            f"{root} has no split {split!r}.{nearest(split, splits)} It has: {', '.join(splits)}."
            f"{held_out if 'train' in splits else ''}"
        )
    if not splits[split]:
        raise DatasetError(
            f"the split {split!r} of {root} is empty: {len(splits['all'])} images are too few. Add some, or "
            "evaluate on what is trained on, which shows whether a model can learn it: data.eval_split=all and "
            "data.train_split=all"
        )
    return splits[split]
