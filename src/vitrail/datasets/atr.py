"""ATR, also called the fashion dataset: 17 parts and garments of single people.

Its download has no lists of the splits: put train_id.txt, val_id.txt and test_id.txt (16,000, 700 and 1,000 ids, one a
line) beside its folders.
"""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark
from vitrail.datasets.voc import VOC

# Names as in SSSegmentation; the paper calls coat upper-clothes, the hands arms, and bags bag.
_CLASSES = (
    "background",
    "hat",
    "hair",
    "sunglasses",
    "coat",
    "skirt",
    "pants",
    "dress",
    "belt",
    "left-shoe",
    "right-shoe",
    "face",
    "left-leg",
    "right-leg",
    "left-hand",
    "right-hand",
    "bags",
    "scarf",
)


def _split(name: str) -> Split:
    return Split("JPEGImages/{id}.jpg", "SegmentationClassAug/{id}.png", ids=f"{name}_id.txt")


ATR = register_benchmark(
    Benchmark(
        name="atr",
        title="ATR",
        classes=_CLASSES,
        palette=VOC.palette[: len(_CLASSES)],  # it has no colours of its own
        splits={"train": _split("train"), "val": _split("val"), "test": _split("test"), "trainval": ("train", "val")},
        flip_pairs=((9, 10), (12, 13), (14, 15)),
        submission=Submission("{id}.png"),
        citation="Liang et al.: Deep human parsing with active template regression, PAMI 2015",
    )
)
