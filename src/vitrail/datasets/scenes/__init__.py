"""The dataset "scenes": generated, deterministic street scenes with exact masks, which need no files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.scenes.scene import render
from vitrail.errors import DatasetError, nearest

_LEAST = 64

SCENES = Benchmark(
    name="scenes",
    title="built-in street scenes",
    classes=("sky", "building", "road", "sidewalk", "tree", "pole", "vehicle", "person"),
    palette=(
        (70, 130, 180),
        (70, 70, 70),
        (128, 64, 128),
        (244, 35, 232),
        (107, 142, 35),
        (220, 190, 60),
        (0, 0, 142),
        (220, 20, 60),
    ),
    splits={},
)


class Scenes:
    """Generated scenes; each is a function of split and index only.

    Parameters
    ----------
    split : str
        Different splits have different scenes.
    count : int
        Number of scenes.
    size : (int, int)
        (height, width) in pixels.
    """

    def __init__(self, split: str, count: int, size: tuple[int, int]) -> None:
        self.split = split
        self.size = size
        self.ids = [f"{split}_{index:05d}" for index in range(count)]

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [3, H, W], and mask, uint8 [H, W]."""
        image, mask = render(self.ids[index], *self.size)
        return (
            tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
            tv_tensors.Mask(torch.from_numpy(np.array(mask))),
        )


@register_dataset("scenes", benchmark=SCENES)
def scenes(
    root: Path | None,
    split: str,
    *,
    size: Sequence[int] = (360, 480),
    train: int = 400,
    val: int = 100,
    test: int = 100,
) -> tuple[Benchmark, Scenes]:
    """Generated street scenes with exact masks; needs no files.

    Parameters
    ----------
    root : None
        Not used: there are no files.
    split : str
        "train", "val" or "test".
    size : (int, int)
        (height, width) in pixels, 64 or more.
    train, val, test : int
        Number of scenes in each split.
    """
    counts = {"train": train, "val": val, "test": test}
    if split not in counts:
        raise DatasetError(f"scenes has no split {split!r}.{nearest(split, counts)} It has: {', '.join(counts)}.")
    if len(size) != 2 or min(size) < _LEAST:
        raise DatasetError(f"data.options.size={list(size)} should be height and width, {_LEAST} or more")
    if counts[split] < 1:
        raise DatasetError(f"data.options.{split}={counts[split]} should be 1 or more")
    return SCENES, Scenes(split, counts[split], (size[0], size[1]))
