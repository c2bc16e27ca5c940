"""Built-in street scenes: generated, deterministic, and labelled to the pixel, so that everything runs offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors

from vitrail.datasets.benchmark import Benchmark, register_benchmark
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.scenes.scene import render
from vitrail.errors import DatasetError, nearest
from vitrail.files.yaml_file import dump_yaml

_LEAST = 64

SCENES = register_benchmark(
    Benchmark(
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
)


class Scenes:
    """Generated scenes; each is a function of split and index alone.

    Parameters
    ----------
    split : str
        Scenes of different splits have nothing in common.
    count : int
        How many there are.
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


@register_dataset("scenes")
def scenes(
    root: Path | None,
    split: str,
    *,
    size: Sequence[int] = (360, 480),
    train: int = 400,
    val: int = 100,
    test: int = 100,
) -> tuple[Benchmark, Scenes]:
    """Open the built-in scenes.

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


def write_scenes(root: str | Path, *, train: int = 20, val: int = 5, size: tuple[int, int] = (360, 480)) -> Path:
    """Write scenes as image and mask files, in the layout that the dataset "folder" reads.

    Parameters
    ----------
    root : str or Path
        The folder to write to; it is made if needed.
    train, val : int
        Number of scenes in each split.
    size : (int, int)
        (height, width) in pixels.

    Returns
    -------
    Path
        The folder.
    """
    root = Path(root)
    flat_palette = [value for colour in SCENES.palette for value in colour]
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for name in Scenes(split, count, size).ids:
            image, mask = render(name, *size)
            Image.fromarray(image).save(root / "images" / split / f"{name}.png")
            indexed = Image.fromarray(mask).convert("P")
            indexed.putpalette(flat_palette)
            indexed.save(root / "masks" / split / f"{name}.png")
    description = {"classes": list(SCENES.classes), "palette": [list(colour) for colour in SCENES.palette]}
    (root / "classes.yaml").write_text(dump_yaml(description), encoding="utf-8")
    return root
