"""Crowd Instance-level Human Parsing: the classes of LIP on pictures of several people, skin in place of jumpsuits."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark
from vitrail.datasets.lip import LIP


def _split(folder: str, listing: str) -> Split:
    return Split(f"{folder}/Images/{{id}}.jpg", f"{folder}/Category_ids/{{id}}.png", ids=f"{folder}/{listing}")


CIHP = register_benchmark(
    Benchmark(
        name="cihp",
        title="CIHP",
        classes=tuple("Torso-skin" if name == "Jumpsuits" else name for name in LIP.classes),
        palette=LIP.palette,
        splits={
            "train": _split("Training", "train_id.txt"),
            "val": _split("Validation", "val_id.txt"),
            "trainval": ("train", "val"),
            "test": Split("Testing/Images/{id}.jpg", None, ids="Testing/test_id.txt"),
        },
        flip_pairs=LIP.flip_pairs,
        submission=Submission("{id}.png"),
        citation="Gong et al.: Instance-level human parsing via part grouping network, ECCV 2018",
    )
)
