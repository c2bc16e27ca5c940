"""LoveDA: seven kinds of land cover in aerial images of 0.3 m, of cities and of the country."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark
from vitrail.labels import IGNORE

_CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (255, 255, 255),
    "building": (255, 0, 0),
    "road": (255, 255, 0),
    "water": (0, 0, 255),
    "barren": (159, 129, 183),
    "forest": (0, 255, 0),
    "agricultural": (255, 195, 128),
}


def _split(part: str, scene: str) -> Split:
    """The archives Train.zip and Val.zip, unpacked side by side."""
    return Split(f"{part}/{scene}/images_png/{{id}}.png", f"{part}/{scene}/masks_png/{{id}}.png")


LOVEDA = register_benchmark(
    Benchmark(
        name="loveda",
        title="LoveDA",
        classes=tuple(_CLASSES),
        palette=tuple(_CLASSES.values()),
        splits={
            "train_urban": _split("Train", "Urban"),
            "train_rural": _split("Train", "Rural"),
            "val_urban": _split("Val", "Urban"),
            "val_rural": _split("Val", "Rural"),
            "train": ("train_urban", "train_rural"),
            "val": ("val_urban", "val_rural"),
            "test_urban": Split("Test/Urban/images_png/{id}.png", None),
            "test_rural": Split("Test/Rural/images_png/{id}.png", None),
            "test": ("test_urban", "test_rural"),
        },
        labels={0: IGNORE, **{index + 1: index for index in range(len(_CLASSES))}},  # 0 is where there is no data
        submission=Submission("{id}.png"),  # 0 is background there, unlike in the masks
        citation=(
            "Wang et al.: LoveDA: a remote sensing land-cover dataset for domain adaptive semantic segmentation, "
            "NeurIPS 2021"
        ),
    )
)
