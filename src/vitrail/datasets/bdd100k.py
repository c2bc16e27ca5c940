"""BDD100K, semantic segmentation: streets of the USA with the classes of Cityscapes."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.cityscapes import CITYSCAPES
from vitrail.datasets.dataset import register_benchmark


def _split(name: str) -> Split:
    """The archives of the 10k images and of the semantic labels, unpacked side by side."""
    return Split(f"images/10k/{name}/{{id}}.jpg", f"labels/sem_seg/masks/{name}/{{id}}.png")


BDD100K = register_benchmark(
    Benchmark(
        name="bdd100k",
        title="BDD100K",
        classes=CITYSCAPES.classes,
        classes_of="cityscapes",
        palette=CITYSCAPES.palette,
        splits={
            "train": _split("train"),
            "val": _split("val"),
            "trainval": ("train", "val"),
            "test": Split("images/10k/test/{id}.jpg", None),
        },
        citation="Yu et al.: BDD100K: a diverse driving dataset for heterogeneous multitask learning, CVPR 2020",
        submission=Submission("{id}.png"),
    )
)
