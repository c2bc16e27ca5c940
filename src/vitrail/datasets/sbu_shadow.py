"""SBU shadow: where shadows are."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.dataset import register_benchmark


def _split(folder: str) -> Split:
    return Split(f"{folder}/ShadowImages/{{id}}.jpg", f"{folder}/ShadowMasks/{{id}}.png")


SBU_SHADOW = register_benchmark(
    Benchmark(
        name="sbu_shadow",
        title="SBU Shadow",
        classes=("background", "shadow"),
        palette=((0, 0, 0), (255, 0, 0)),
        splits={"train": _split("SBUTrain4KRecoveredSmall"), "val": _split("SBU-Test")},
        labels={0: 0, **dict.fromkeys(range(1, 256), 1)},  # any grey, as in SSSegmentation
        citation="Vicente et al.: Large-scale training of shadow detectors with noisily-annotated examples, ECCV 2016",
    )
)
