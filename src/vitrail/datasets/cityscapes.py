"""Cityscapes: 34 raw labels, 19 of which are evaluated; images and fine or coarse annotations."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split, Submission
from vitrail.datasets.dataset import register_benchmark
from vitrail.labels import IGNORE

# label id: name and colour, as in the cityscapesScripts package; all other ids are ignored
_JUDGED = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
_IDS = 34


def _split(folder: str, kind: str = "gtFine") -> Split:
    return Split(f"leftImg8bit/{folder}/{{id}}_leftImg8bit.png", f"{kind}/{folder}/{{id}}_{kind}_labelIds.png")


CITYSCAPES = register_benchmark(
    Benchmark(
        name="cityscapes",
        title="Cityscapes",
        classes=tuple(name for name, _ in _JUDGED.values()),
        palette=tuple(colour for _, colour in _JUDGED.values()),
        splits={
            "train": _split("train"),
            "val": _split("val"),
            "trainval": ("train", "val"),
            "train_extra": _split("train_extra", "gtCoarse"),
            "test": Split("leftImg8bit/test/{id}_leftImg8bit.png", None),  # its label files say "ignored" everywhere
        },
        labels={
            **dict.fromkeys([*range(_IDS), IGNORE], IGNORE),
            **{label: index for index, label in enumerate(_JUDGED)},
        },
        citation="Cordts et al.: The Cityscapes dataset for semantic urban scene understanding, CVPR 2016",
        submission=Submission("{name}_labelIds.png", values=tuple(_JUDGED)),
    )
)
