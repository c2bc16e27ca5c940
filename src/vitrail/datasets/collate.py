"""Collation of samples to batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from vitrail.errors import DatasetError


def collate_train(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of one size.

    Returns
    -------
    dict
        image : uint8 [B, 3, h, w]; mask : uint8 or int16 [B, h, w]; id : list of str; size : list of (H, W).

    Raises
    ------
    DatasetError
        When the samples differ in size.
    """
    shapes = {tuple(sample["mask"].shape): sample["id"] for sample in samples}
    if len(shapes) > 1:
        described = ", ".join(f"{id!r} is {w}×{h}" for (h, w), id in list(shapes.items())[:2])
        raise DatasetError(f"a batch needs images of one size, but {described}: set data.augment.crop")
    batch = collate_eval(samples)
    return {**batch, "image": torch.stack(batch["image"]), "mask": torch.stack(batch["mask"])}


def collate_eval(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collect samples of any size in lists.

    Returns
    -------
    dict
        image : list of uint8 [3, h, w]; mask : list of uint8 or int16 [H, W]; id : list of str; size : list of (H, W).
    """
    return {
        "image": [sample["image"].as_subclass(torch.Tensor).contiguous() for sample in samples],
        "mask": [sample["mask"].as_subclass(torch.Tensor).contiguous() for sample in samples],
        "id": [sample["id"] for sample in samples],
        "size": [sample["size"] for sample in samples],
    }
