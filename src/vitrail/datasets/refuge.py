"""REFUGE: optic disc and cup in photographs of the retina."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark

_CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (120, 120, 120),
    "Optic Cup": (6, 230, 230),
    "Optic Disc": (56, 59, 120),
}


def _training(kind: str) -> Split:
    return Split(f"**/Training400/{kind}/{{id}}.jpg", f"**/Disc_Cup_Masks/{kind}/{{id}}.bmp")


REFUGE = register_benchmark(
    Benchmark(
        name="refuge",
        title="REFUGE",
        classes=tuple(_CLASSES),
        palette=tuple(_CLASSES.values()),
        splits={
            "train_glaucoma": _training("Glaucoma"),
            "train_non_glaucoma": _training("Non-Glaucoma"),
            "train": ("train_glaucoma", "train_non_glaucoma"),
            "val": Split("**/{id}.jpg", "**/{id}.bmp", id_pattern="V[0-9]+"),
            "test": Split("**/{id}.jpg", "**/{id}.bmp", id_pattern="T[0-9]+"),
            "trainval": ("train", "val"),
        },
        labels={255: 0, 0: 1, 128: 2},
        citation=(
            "Orlando et al.: REFUGE challenge: a unified framework for evaluating automated methods for glaucoma "
            "assessment from fundus photographs, Medical Image Analysis 59, 2020"
        ),
    )
)
