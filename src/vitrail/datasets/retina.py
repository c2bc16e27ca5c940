"""Photographs of the retina in which vessels are drawn: DRIVE, STARE, CHASE_DB1 and HRF.

Their downloads have little in common, so they are read as MMSegmentation's converters write them: PNG files in
images/training, images/validation and the same folders of annotations, where 1 is a vessel. Where two people have
annotated, the first counts.
"""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark


def _register(name: str, title: str, mask: str, citation: str) -> Benchmark:
    def split(folder: str) -> Split:
        return Split(f"images/{folder}/{{id}}.png", f"annotations/{folder}/{mask}")

    return register_benchmark(
        Benchmark(
            name=name,
            title=title,
            classes=("background", "vessel"),
            palette=((120, 120, 120), (6, 230, 230)),  # MMSegmentation's; SSSegmentation draws vessels red on black
            splits={"train": split("training"), "val": split("validation"), "trainval": ("train", "val")},
            citation=citation,
        )
    )


DRIVE = _register(
    "drive",
    "DRIVE",
    "{id}_manual1.png",
    "Staal et al.: Ridge-based vessel segmentation in color images of the retina, TMI 2004",
)
STARE = _register(
    "stare",
    "STARE",
    "{id}.ah.png",
    "Hoover et al.: Locating blood vessels in retinal images by piecewise threshold probing, TMI 2000",
)
CHASE_DB1 = _register(
    "chase_db1",
    "CHASE_DB1",
    "{id}_1stHO.png",
    "Fraz et al.: An ensemble classification-based approach applied to retinal blood vessel segmentation, TBME 2012",
)
HRF = _register(
    "hrf",
    "HRF",
    "{id}.png",
    "Budai et al.: Robust vessel segmentation in fundus images, International Journal of Biomedical Imaging 2013",
)
