"""The persons of supervisely.com as SSSegmentation has them: one PNG of 0 and 255 for each image.

The download itself, with its annotations in JSON, is read by the dataset "supervisely".
"""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark


def _split(name: str) -> Split:
    return Split(f"Images/{name}/{{id}}.jpg", f"Anno-Person/{name}/{{id}}.png", ids=f"{name}.txt")


SUPERVISELY_PERSON = register_benchmark(
    Benchmark(
        name="supervisely_person",
        title="Supervisely Person",
        classes=("background", "person"),
        palette=((0, 0, 0), (255, 0, 0)),
        splits={"train": _split("train"), "val": _split("val"), "trainval": ("train", "val")},
        labels={0: 0, 1: 1, 255: 1},
        citation="Supervisely: Supervisely person dataset, supervisely.com",
    )
)
