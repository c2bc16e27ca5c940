"""Streets at night with the classes of Cityscapes: Dark Zurich and Nighttime Driving, for evaluation alone."""

from __future__ import annotations

from vitrail.datasets.benchmark import Benchmark, Split
from vitrail.datasets.cityscapes import CITYSCAPES
from vitrail.datasets.dataset import register_benchmark

DARK_ZURICH = register_benchmark(
    Benchmark(
        name="dark_zurich",
        title="Dark Zurich",
        classes=CITYSCAPES.classes,
        classes_of="cityscapes",
        palette=CITYSCAPES.palette,
        splits={
            "val": Split("rgb_anon/val/{id}_rgb_anon.png", "gt/val/{id}_gt_labelTrainIds.png"),
            "test": Split("rgb_anon/test/{id}_rgb_anon.png", None),
        },
        citation=(
            "Sakaridis, Dai, Van Gool: Guided curriculum model adaptation and uncertainty-aware evaluation for "
            "semantic nighttime image segmentation, ICCV 2019"
        ),
    )
)

NIGHTTIME_DRIVING = register_benchmark(
    Benchmark(
        name="nighttime_driving",
        title="Nighttime Driving",
        classes=CITYSCAPES.classes,
        classes_of="cityscapes",
        palette=CITYSCAPES.palette,
        splits={
            "val": Split(
                "leftImg8bit/test/night/{id}_leftImg8bit.png",
                "gtCoarse_daytime_trainvaltest/test/night/{id}_gtCoarse_labelTrainIds.png",
            ),
        },
        citation=(
            "Dai, Van Gool: Dark model adaptation: semantic image segmentation from daytime to nighttime, ITSC 2018"
        ),
    )
)
