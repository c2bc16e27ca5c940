"""MHP: parts and garments of several people in an image, with one mask for each person; releases 1 and 2."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark
from vitrail.datasets.voc import voc_colour

_CLASSES_V1 = (
    "background",
    "hat",
    "hair",
    "sunglasses",
    "upper clothes",
    "skirt",
    "pants",
    "dress",
    "belt",
    "left shoe",
    "right shoe",
    "face",
    "left leg",
    "right leg",
    "left arm",
    "right arm",
    "bag",
    "scarf",
    "torso skin",
)
_CLASSES_V2 = (
    "background",
    "cap/hat",
    "helmet",
    "face",
    "hair",
    "left-arm",
    "right-arm",
    "left-hand",
    "right-hand",
    "protector",
    "bikini/bra",
    "jacket/windbreaker/hoodie",
    "t-shirt",
    "polo-shirt",
    "sweater",
    "singlet",
    "torso-skin",
    "pants",
    "shorts/swim-shorts",
    "skirt",
    "stockings",
    "socks",
    "left-boot",
    "right-boot",
    "left-shoe",
    "right-shoe",
    "left-highheel",
    "right-highheel",
    "left-sandal",
    "right-sandal",
    "left-leg",
    "right-leg",
    "left-foot",
    "right-foot",
    "coat",
    "dress",
    "robe",
    "jumpsuits",
    "other-full-body-clothes",
    "headwear",
    "backpack",
    "ball",
    "bats",
    "belt",
    "bottle",
    "carrybag",
    "cases",
    "sunglasses",
    "eyewear",
    "gloves",
    "scarf",
    "umbrella",
    "wallet/purse",
    "watch",
    "wristband",
    "tie",
    "other-accessories",
    "other-upper-body-clothes",
    "other-lower-body-clothes",
)


def _sides(classes: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Return the classes that differ in left and right alone."""
    return tuple(
        (index, classes.index(name.replace("left", "right"))) for index, name in enumerate(classes) if "left" in name
    )


def _split_v1(listing: str) -> Split:
    return Split("images/{id}.jpg", "annotations/{id}_*.png", ids=listing)


def _split_v2(name: str) -> Split:
    return Split(f"{name}/images/{{id}}.jpg", f"{name}/parsing_annos/{{id}}_*.png", ids=f"list/{name}.txt")


MHP_V1 = register_benchmark(
    Benchmark(
        name="mhp_v1",
        title="MHP v1",
        classes=_CLASSES_V1,
        palette=tuple(voc_colour(index) for index in range(len(_CLASSES_V1))),  # it has no colours of its own
        splits={"train": _split_v1("train_list.txt"), "val": _split_v1("test_list.txt")},
        flip_pairs=_sides(_CLASSES_V1),
        citation="Li et al.: Multiple-human parsing in the wild, arXiv:1705.07206, 2017",
    )
)

MHP_V2 = register_benchmark(
    Benchmark(
        name="mhp_v2",
        title="MHP v2",
        classes=_CLASSES_V2,
        palette=tuple(voc_colour(index) for index in range(len(_CLASSES_V2))),
        splits={"train": _split_v2("train"), "val": _split_v2("val"), "trainval": ("train", "val")},
        flip_pairs=_sides(_CLASSES_V2),
        citation="Zhao et al.: Understanding humans in crowded scenes: deep nested adversarial learning, ACM MM 2018",
    )
)
