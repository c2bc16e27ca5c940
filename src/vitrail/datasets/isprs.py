"""The ISPRS benchmarks of Potsdam and Vaihingen: six kinds of land cover in aerial images, which are read in tiles.

The masks are those without boundaries (noBoundary, eroded), whose black pixels are ignored; so are a few pixels of
colours that stand for no class. The splits are MMSegmentation's.
"""

from __future__ import annotations

from pathlib import Path

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.tiles import Tiles, tiled
from vitrail.labels import IGNORE

_CLASSES: dict[str, tuple[int, int, int]] = {
    "impervious_surface": (255, 255, 255),
    "building": (0, 0, 255),
    "low_vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
_POTSDAM_TRAIN = (
    "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12 6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12"
)
_POTSDAM_VAL = "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13"
_VAIHINGEN_TRAIN = "1 3 5 7 11 13 15 17 21 23 26 28 30 32 34 37"
_VAIHINGEN_VAL = "2 4 6 8 10 12 14 16 20 22 24 27 29 31 33 35 38"


def _benchmark(name: str, title: str, image: str, mask: str, train: str, val: str) -> Benchmark:
    splits = {split: Split(image, mask, ids=tuple(ids.split())) for split, ids in (("train", train), ("val", val))}
    return Benchmark(
        name=name,
        title=title,
        classes=tuple(_CLASSES),
        palette=tuple(_CLASSES.values()),
        splits={**splits, "trainval": ("train", "val")},
        colours={colour: index for index, colour in enumerate(_CLASSES.values())},
        other_colours=IGNORE,
        classes_of="" if name == "potsdam" else "potsdam",
        citation=(
            "Rottensteiner et al.: The ISPRS benchmark on urban object classification and 3D building reconstruction, "
            "ISPRS Annals I-3, 2012"
        ),
    )


POTSDAM = _benchmark(
    "potsdam",
    "ISPRS Potsdam",
    "**/top_potsdam_{id}_RGB.tif",
    "**/top_potsdam_{id}_label_noBoundary.tif",
    _POTSDAM_TRAIN,
    _POTSDAM_VAL,
)
VAIHINGEN = _benchmark(
    "vaihingen",
    "ISPRS Vaihingen",
    "**/top/top_mosaic_09cm_area{id}.tif",
    "**/top_mosaic_09cm_area{id}_noBoundary.tif",
    _VAIHINGEN_TRAIN,
    _VAIHINGEN_VAL,
)


@register_dataset("potsdam", benchmark=POTSDAM, remote=True)
def potsdam(
    root: Path | None, split: str, *, tile_size: int = 512, tile_overlap: int = 0
) -> tuple[Benchmark, PairedFiles | Tiles]:
    """ISPRS Potsdam in tiles.

    Parameters
    ----------
    root : Path
        The folder of 2_Ortho_RGB.zip and 5_Labels_all_noBoundary.zip, unpacked or not.
    split : str
        "train", "val" or "trainval".
    tile_size, tile_overlap : int
        Height and width of a tile and how much neighbours share, by default as MMSegmentation evaluates; a size of 0
        reads whole images.
    """
    return POTSDAM, tiled(benchmark_files(POTSDAM, root, split), tile_size, tile_overlap)


@register_dataset("vaihingen", benchmark=VAIHINGEN, remote=True)
def vaihingen(
    root: Path | None, split: str, *, tile_size: int = 512, tile_overlap: int = 0
) -> tuple[Benchmark, PairedFiles | Tiles]:
    """ISPRS Vaihingen in tiles.

    Parameters
    ----------
    root : Path
        The folder of ISPRS_semantic_labeling_Vaihingen.zip and of its eroded ground truth, unpacked or not.
    split : str
        "train", "val" or "trainval".
    tile_size, tile_overlap : int
        Height and width of a tile and how much neighbours share, by default as MMSegmentation evaluates; a size of 0
        reads whole images.
    """
    return VAIHINGEN, tiled(benchmark_files(VAIHINGEN, root, split), tile_size, tile_overlap)
