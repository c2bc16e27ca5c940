"""Mirror images, where left-right pairs of classes change places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import DatasetError


class HorizontalFlip:
    """Mirrors image and mask.

    Parameters
    ----------
    pairs : sequence of (int, int)
        Classes that change places, such as a left and a right arm.
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
        """Mirror uint8 [3, H, W] and [H, W]."""
        mask = mask.flip(-1)
        if self._has_pairs:
            mask = torch.from_numpy(self._swap[mask.numpy()])
        return image.flip(-1), mask
