"""PASCAL Context: the 59 most frequent classes of the relabelled VOC 2010, with and without a background class.

The masks are those that MMSegmentation's converter makes of the official annotations; 0 stands for all other things.
"""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark
from vitrail.labels import IGNORE

_CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (120, 120, 120),
    "aeroplane": (180, 120, 120),
    "bag": (6, 230, 230),
    "bed": (80, 50, 50),
    "bedclothes": (4, 200, 3),
    "bench": (120, 120, 80),
    "bicycle": (140, 140, 140),
    "bird": (204, 5, 255),
    "boat": (230, 230, 230),
    "book": (4, 250, 7),
    "bottle": (224, 5, 255),
    "building": (235, 255, 7),
    "bus": (150, 5, 61),
    "cabinet": (120, 120, 70),
    "car": (8, 255, 51),
    "cat": (255, 6, 82),
    "ceiling": (143, 255, 140),
    "chair": (204, 255, 4),
    "cloth": (255, 51, 7),
    "computer": (204, 70, 3),
    "cow": (0, 102, 200),
    "cup": (61, 230, 250),
    "curtain": (255, 6, 51),
    "dog": (11, 102, 255),
    "door": (255, 7, 71),
    "fence": (255, 9, 224),
    "floor": (9, 7, 230),
    "flower": (220, 220, 220),
    "food": (255, 9, 92),
    "grass": (112, 9, 255),
    "ground": (8, 255, 214),
    "horse": (7, 255, 224),
    "keyboard": (255, 184, 6),
    "light": (10, 255, 71),
    "motorbike": (255, 41, 10),
    "mountain": (7, 255, 255),
    "mouse": (224, 255, 8),
    "person": (102, 8, 255),
    "plate": (255, 61, 6),
    "platform": (255, 194, 7),
    "pottedplant": (255, 122, 8),
    "road": (0, 255, 20),
    "rock": (255, 8, 41),
    "sheep": (255, 5, 153),
    "shelves": (6, 51, 255),
    "sidewalk": (235, 12, 255),
    "sign": (160, 150, 20),
    "sky": (0, 163, 255),
    "snow": (140, 140, 140),
    "sofa": (250, 10, 15),
    "table": (20, 255, 0),
    "track": (31, 255, 0),
    "train": (255, 31, 0),
    "tree": (255, 224, 0),
    "truck": (153, 255, 0),
    "tvmonitor": (0, 0, 255),
    "wall": (255, 71, 0),
    "water": (0, 235, 255),
    "window": (0, 173, 255),
    "wood": (31, 0, 255),
}


def _split(name: str) -> Split:
    return Split(
        "JPEGImages/{id}.jpg",
        "SegmentationClassContext/{id}.png",
        ids=f"ImageSets/SegmentationContext/{name}.txt",
    )


_SPLITS: dict[str, Split | tuple[str, ...]] = {
    "train": _split("train"),
    "val": _split("val"),
    "trainval": ("train", "val"),
}
_CITATION = "Mottaghi et al.: The role of context for object detection and semantic segmentation in the wild, CVPR 2014"

PASCAL_CONTEXT = register_benchmark(
    Benchmark(
        name="pascal_context",
        title="PASCAL Context, 60 classes",
        classes=tuple(_CLASSES),
        palette=tuple(_CLASSES.values()),
        splits=_SPLITS,
        submission=Submission("{id}.png"),
        citation=_CITATION,
    )
)

PASCAL_CONTEXT_59 = register_benchmark(
    Benchmark(
        name="pascal_context_59",
        title="PASCAL Context, 59 classes",
        classes=PASCAL_CONTEXT.classes[1:],
        palette=PASCAL_CONTEXT.palette[1:],
        splits=_SPLITS,
        submission=Submission("{id}.png", values=tuple(range(1, len(_CLASSES)))),  # as in its masks
        labels={0: IGNORE, **{index: index - 1 for index in range(1, len(_CLASSES))}, IGNORE: IGNORE},
        citation=_CITATION,
    )
)
