"""What `test_evaluate_dataset` runs in two processes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from helpers import evaluation_models as models
from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.evaluation.report import SavePredictions, WorstImages
from vitrail.recipes import EvalConfig
from vitrail.runtime.distributed import process_group, rank


def evaluate_in_process(folder: Path) -> None:
    """Evaluate a small model with the other process, and save what came out."""
    with process_group("cpu"):
        seen: list[str] = []
        report = WorstImages(folder / "report", models.PALETTE, count=3)
        evaluation = evaluate_dataset(
            models.small_model(),
            models.memory_dataset(7),
            EvalConfig(batch_size=2, calibration=True),
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
            "calibration": asdict(evaluation.calibration),
        }
        torch.save(result, folder / f"{rank()}.pt")
