"""LEVIR-CD: changed buildings between two aerial images of a place, which become one image of six channels.

A model needs `model.in_channels=6`, and six values in `data.mean` and `data.std`.
"""

from __future__ import annotations

from pathlib import Path

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_dataset
from vitrail.datasets.files import PairedFiles, benchmark_files
from vitrail.datasets.tiles import Tiles, tiled


def _split(name: str) -> Split:
    return Split(f"{name}/A/{{id}}.png", f"{name}/label/{{id}}.png", second_images=f"{name}/B/{{id}}.png")


LEVIR_CD = Benchmark(
    name="levir_cd",
    title="LEVIR-CD",
    classes=("background", "changed"),
    palette=((0, 0, 0), (255, 255, 255)),
    splits={"train": _split("train"), "val": _split("val"), "test": _split("test"), "trainval": ("train", "val")},
    labels={0: 0, 255: 1},
    citation=(
        "Chen, Shi: A spatial-temporal attention-based method and a new dataset for remote sensing image change "
        "detection, Remote Sensing 12, 2020"
    ),
)


@register_dataset("levir_cd", benchmark=LEVIR_CD, remote=True)
def levir_cd(
    root: Path | None, split: str, *, tile_size: int = 256, tile_overlap: int = 0
) -> tuple[Benchmark, PairedFiles | Tiles]:
    """LEVIR-CD in tiles of six channels.

    Parameters
    ----------
    root : Path
        The folder of train.zip, val.zip and test.zip, each unpacked to a folder of its name.
    split : str
        "train", "val", "test" or "trainval"; MMSegmentation evaluates on "test".
    tile_size, tile_overlap : int
        Height and width of a tile and how much neighbours share, by default as MMSegmentation evaluates; a size of 0
        reads whole images.
    """
    return LEVIR_CD, tiled(benchmark_files(LEVIR_CD, root, split), tile_size, tile_overlap)
