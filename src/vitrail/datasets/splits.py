"""Random splits of datasets that come without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from vitrail.errors import DatasetError

Item = TypeVar("Item")


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
