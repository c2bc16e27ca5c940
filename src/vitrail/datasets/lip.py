"""Look into Person: 19 parts and garments of single people; left and right limbs are different classes."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark

_CLASSES: dict[str, tuple[int, int, int]] = {
    "Background": (0, 0, 0),
    "Hat": (128, 0, 0),
    "Hair": (255, 0, 0),
    "Glove": (0, 85, 0),
    "Sunglasses": (170, 0, 51),
    "UpperClothes": (255, 85, 0),
    "Dress": (0, 0, 85),
    "Coat": (0, 119, 221),
    "Socks": (85, 85, 0),
    "Pants": (0, 85, 85),
    "Jumpsuits": (85, 51, 0),
    "Scarf": (52, 86, 128),
    "Skirt": (0, 128, 0),
    "Face": (0, 0, 255),
    "Left-arm": (51, 170, 221),
    "Right-arm": (0, 255, 255),
    "Left-leg": (85, 255, 170),
    "Right-leg": (170, 255, 85),
    "Left-shoe": (255, 255, 0),
    "Right-shoe": (255, 170, 0),
}


def _split(name: str) -> Split:
    """The archives TrainVal_images and TrainVal_parsing_annotations, each unpacked to a folder of its name."""
    return Split(
        f"TrainVal_images/{name}_images/{{id}}.jpg",
        f"TrainVal_parsing_annotations/{name}_segmentations/{{id}}.png",
        ids=f"TrainVal_images/{name}_id.txt",
    )


LIP = register_benchmark(
    Benchmark(
        name="lip",
        title="LIP",
        classes=tuple(_CLASSES),
        palette=tuple(_CLASSES.values()),
        splits={
            "train": _split("train"),
            "val": _split("val"),
            "trainval": ("train", "val"),
            "test": Split("Testing_images/testing_images/{id}.jpg", None, ids="Testing_images/test_id.txt"),
        },
        flip_pairs=((14, 15), (16, 17), (18, 19)),
        citation=(
            "Gong et al.: Look into person: self-supervised structure-sensitive learning and a new benchmark for human "
            "parsing, CVPR 2017"
        ),
        submission=Submission("{id}.png"),
    )
)
