"""A dataset: discs on a noisy background, generated from the index, so that it needs no files.

A dataset of image files needs no code at all: `vitrail.register_benchmark(vitrail.Benchmark(…))` describes its layout.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision import tv_tensors

from vitrail import Benchmark, DatasetError, register_dataset

DISCS = Benchmark(
    name="example_discs",
    title="Discs",
    classes=("background", "disc"),
    palette=((40, 40, 40), (230, 90, 60)),
    splits={},
)


class Discs:
    """Images with one disc each; the split and the index decide where it is."""

    def __init__(self, split: str, count: int, size: int) -> None:
        self.ids = [f"{split}_{index:03d}" for index in range(count)]
        self.seed = len(split) * 10_000
        self.size = size

    def load(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """Return image, uint8 [3, H, W], and mask, uint8 [H, W]."""
        generator = torch.Generator().manual_seed(self.seed + index)
        y, x, radius = (torch.rand(3, generator=generator) * torch.tensor([1, 1, 0.3]) * self.size).tolist()
        rows, columns = torch.meshgrid(torch.arange(self.size), torch.arange(self.size), indexing="ij")
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < (radius + 4) ** 2).to(torch.uint8)
        noise = torch.randint(0, 60, (3, self.size, self.size), generator=generator, dtype=torch.uint8)
        return tv_tensors.Image(noise + 120 * mask), tv_tensors.Mask(mask)


@register_dataset("example_discs", benchmark=DISCS)
def discs(root: Path | None, split: str, *, train: int = 16, val: int = 4, size: int = 64) -> tuple[Benchmark, Discs]:
    """Discs on a noisy background."""
    counts = {"train": train, "val": val}
    if split not in counts:
        raise DatasetError(f"example_discs has the splits train and val, not {split!r}")
    return DISCS, Discs(split, counts[split], size)
