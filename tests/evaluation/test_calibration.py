"""Calibration: the expected calibration error of a plain computation, exact for any order and number of processes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluation_models import memory_dataset, small_model

from vitrail.evaluation import Calibration
from vitrail.evaluation.calibration import CalibrationCounts
from vitrail.evaluation.evaluator import evaluate_dataset
from vitrail.evaluation.report import WorstImages
from vitrail.recipes import EvalConfig

CPU = torch.device("cpu")


def ece(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The definition of Guo et al., with bins open below."""
    total = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_the_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    counts, confidences, rights = CalibrationCounts(4), [], []
    for _ in range(3):
        truth, guess = rng.integers(0, 4, (2, 20, 30))
        scores = rng.random((20, 30), dtype=np.float32) * 0.75 + 0.25
        truth[:3] = 255
        counts.update(*(torch.from_numpy(each) for each in (guess, scores, truth)))
        confidences.append(scores[3:].ravel())
        rights.append((truth == guess)[3:].ravel())
    confidence, right = np.concatenate(confidences).astype(float), np.concatenate(rights)
    found = Calibration.of_counts(counts.reduce())
    assert found.ece == pytest.approx(ece(confidence, right), abs=1e-7)
    assert sum(found.pixels) == len(right) and sum(found.right) == right.sum()
    assert math.isnan(Calibration((0,), (0,), (0.0,)).ece)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_an_evaluation_has_the_error_of_its_probabilities(average: str) -> None:
    model, dataset = small_model(3, 2), memory_dataset(5)
    settings = EvalConfig.model_validate({"calibration": True, "flip": True, "average": average, "batch_size": 2})
    evaluation = evaluate_dataset(model, dataset, settings, device=CPU)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.mean, model.card.std))
    confidences, rights = [], []
    for index in range(5):
        sample = dataset[index]
        image = ((sample["image"].float() - mean) / std)[None]
        with torch.no_grad():
            views = torch.stack([model(image), model(image.flip(-1)).flip(-1)])
        values = views.softmax(2).mean(0) if average == "probabilities" else views.mean(0).softmax(1)
        confidence, guess = values[0].max(0)
        labelled = sample["mask"] != 255
        confidences.append(confidence[labelled].double().numpy())
        rights.append((guess == sample["mask"])[labelled].numpy())
    assert evaluation.calibration is not None
    assert evaluation.calibration.ece == pytest.approx(
        ece(np.concatenate(confidences), np.concatenate(rights)), abs=1e-5
    )
    assert f"expected calibration error {100 * evaluation.calibration.ece:.2f}" in evaluation.table()
    assert evaluation.to_dict()["calibration"]["ece"] == evaluation.calibration.ece


def test_the_report_shows_the_diagram(tmp_path: Path) -> None:
    report = WorstImages(tmp_path, small_model().card.palette, count=1)
    settings = EvalConfig(calibration=True)
    evaluation = evaluate_dataset(small_model(), memory_dataset(2), settings, device=CPU, observers=[report])
    report.write(evaluation, title="calibrated")
    assert evaluation.calibration is not None
    page = (tmp_path / "index.html").read_text()
    diagram = page.partition("class='reliability'")[2].partition("</svg>")[0]
    assert diagram.count("<rect") == len(evaluation.calibration.bins) > 1
    assert f"<b>{100 * evaluation.calibration.ece:.2f} %</b>" in page
    assert json.loads((tmp_path / "summary.json").read_text())["calibration"]["ece"] == evaluation.calibration.ece
