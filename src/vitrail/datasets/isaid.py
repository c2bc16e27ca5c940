"""iSAID: fifteen kinds of objects in aerial images of up to 13,000 pixels, which are read in tiles.

The images are those of DOTA, in PNG; they and the masks may lie in any folders below train, val and test.
"""

from __future__ import annotations

from pathlib import Path

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.tiles import Tiles, tiled

_CLASSES: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "ship": (0, 0, 63),
    "store_tank": (0, 63, 63),
    "baseball_diamond": (0, 63, 0),
    "tennis_court": (0, 63, 127),
    "basketball_court": (0, 63, 191),
    "Ground_Track_Field": (0, 63, 255),
    "Bridge": (0, 127, 63),
    "Large_Vehicle": (0, 127, 127),
    "Small_Vehicle": (0, 0, 127),
    "Helicopter": (0, 0, 191),
    "Swimming_pool": (0, 0, 255),
    "Roundabout": (0, 191, 127),
    "Soccer_ball_field": (0, 127, 191),
    "plane": (0, 127, 255),
    "Harbor": (0, 100, 155),
}
_ID = "P[0-9]+"


def _split(name: str) -> Split:
    return Split(f"**/{name}/**/{{id}}.png", f"**/{name}/**/{{id}}_instance_color_RGB.png", id_pattern=_ID)


ISAID = Benchmark(
    name="isaid",
    title="iSAID",
    classes=tuple(_CLASSES),
    palette=tuple(_CLASSES.values()),
    splits={
        "train": _split("train"),
        "val": _split("val"),
        "trainval": ("train", "val"),
        "test": Split("**/test/**/{id}.png", None, id_pattern=_ID),
    },
    colours={colour: index for index, colour in enumerate(_CLASSES.values())},
    citation=(
        "Zamir et al.: iSAID: a large-scale dataset for instance segmentation in aerial images, CVPR workshops 2019"
    ),
)


@register_dataset("isaid", benchmark=ISAID, remote=True)
def isaid(
    root: Path | None, split: str, *, tile_size: int = 896, tile_overlap: int = 384
) -> tuple[Benchmark, PairedFiles | Tiles]:
    """iSAID in tiles.

    Parameters
    ----------
    root : Path
        The folder or archive with train, val and test.
    split : str
        "train", "val", "trainval" or "test".
    tile_size, tile_overlap : int
        Height and width of a tile and how much neighbours share, by default as MMSegmentation evaluates; a size of 0
        reads whole images.
    """
    return ISAID, tiled(benchmark_files(ISAID, root, split), tile_size, tile_overlap)
