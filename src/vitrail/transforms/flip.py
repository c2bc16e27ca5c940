"""Horizontal flip that swaps left and right classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import DatasetError


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
        self._swap = np.arange(256, dtype=np.uint8)
        for left, right in pairs:
            self._swap[[left, right]] = right, left
        self._has_pairs = bool(members)

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flipped image (uint8 [3, H, W]) and mask (uint8 [H, W])."""
        mask = mask.flip(-1)
        if self._has_pairs:
            mask = torch.from_numpy(self._swap[mask.numpy()])
        return image.flip(-1), mask
