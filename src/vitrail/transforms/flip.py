"""Horizontal flip that swaps left and right classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import DatasetError
from vitrail.labels import MAX_CLASSES, WIDE_IGNORE


class HorizontalFlip:
    """Flip image and mask horizontally.

    Parameters
    ----------
    pairs : sequence of (int, int)
        Classes to swap in the mask, such as left arm and right arm.

    Raises
    ------
    DatasetError
        When a class is in two pairs.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]] = ()) -> None:
        members = [index for pair in pairs for index in pair]
        if len(set(members)) < len(members):
            raise DatasetError(f"flip_pairs {list(pairs)} name a class twice: each class has one mirror image")
        self._pairs = tuple(pairs)

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flipped image (uint8 [3, H, W]) and mask (uint8 or int16 [H, W])."""
        mask = mask.flip(-1)
        if self._pairs:
            swap = self._narrow if mask.dtype == torch.uint8 else self._wide
            mask = torch.from_numpy(swap[mask.numpy()])
        return image.flip(-1), mask

    @cached_property
    def _narrow(self) -> np.ndarray:
        return self._table(256, np.uint8)

    @cached_property
    def _wide(self) -> np.ndarray:
        """The table of masks of more than 255 classes; what is ignored, -1, is its last entry."""
        table = self._table(MAX_CLASSES + 1, np.int16)
        table[-1] = WIDE_IGNORE
        return table

    def _table(self, size: int, dtype: type[np.integer[Any]]) -> np.ndarray:
        table = np.arange(size, dtype=dtype)
        for left, right in self._pairs:
            table[[left, right]] = right, left
        return table
