"""Submissions hold the values that MMSegmentation writes for the same predictions (`format_only`)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from parity.references import require_mmseg
from vitrail.datasets import benchmarks
from vitrail.evaluation.submission import WriteSubmission

pytestmark = pytest.mark.parity

# Left out is LoveDA, whose server wants 0 to 6, but MMSegmentation writes 1 to 7 (its issue 3279).
NAMES = ["ade20k", "bdd100k", "cityscapes", "lip", "mapillary_v1", "pascal_context", "pascal_context_59", "voc"]


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_that_mmseg_writes(name: str, tmp_path: Path) -> None:
    require_mmseg()
    from mmseg.evaluation import CityscapesMetric, IoUMetric

    pytest.importorskip("cityscapesscripts")
    benchmark = benchmarks()[name]
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randint(len(benchmark.classes), (24, 32), generator=generator, dtype=torch.uint8)
    WriteSubmission(tmp_path / "ours", benchmark, ["x"])(SimpleNamespace(id="x", prediction=prediction))
    ours = next((tmp_path / "ours").rglob("*.png"))

    options = {"output_dir": str(tmp_path / "theirs"), "format_only": True}
    metric = CityscapesMetric(**options, keep_results=True) if name == "cityscapes" else IoUMetric(**options)
    metric.dataset_meta = {"classes": benchmark.classes}
    reduced = name in ("ade20k", "pascal_context_59")  # what their datasets pass on
    sample = {"pred_sem_seg": {"data": prediction.long()[None]}, "img_path": "x.png", "reduce_zero_label": reduced}
    metric.process({}, [sample])
    with Image.open(ours) as mine, Image.open(tmp_path / "theirs/x.png") as theirs:
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))
