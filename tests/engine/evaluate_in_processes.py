"""What `test_evaluate_dataset` runs under torchrun."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

from vitrail.engine.evaluate import evaluate_dataset
from vitrail.engine.report import SavePredictions, WorstImages
from vitrail.parallel import process_group, rank
from vitrail.recipes import EvalConfig

spec = importlib.util.spec_from_file_location("models", Path(__file__).parent / "evaluation_models.py")
models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

torch.set_num_threads(1)
folder = Path(sys.argv[1])
with process_group("cpu"):
    seen: list[str] = []
    report = WorstImages(folder / "report", models.PALETTE, count=3)
    evaluation = evaluate_dataset(
        models.small_model(),
        models.memory_dataset(7),
        EvalConfig(batch_size=2),
        device=torch.device("cpu"),
        observers=[
            lambda result: seen.append(result.id),
            SavePredictions(folder / "masks", models.PALETTE),
            report,
        ],
    )
    report.write(evaluation, title="two processes")
    result = {
        "confusion": evaluation.confusion,
        "images": evaluation.images,
        "images_per_second": evaluation.images_per_second,
        "ids": [score.id for score in evaluation.scores],
        "mious": [score.miou for score in evaluation.scores],
        "seen": seen,
    }
    torch.save(result, folder / f"{rank()}.pt")
