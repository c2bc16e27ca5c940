"""Class weights from the training masks: the published formulas, the numbers in the card, the cache."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny

from vitrail import checkpoints
from vitrail.errors import ModelError, RecipeError, TrainingError
from vitrail.losses import CrossEntropyLoss
from vitrail.training import TrainingResult, TrainingRun, train
from vitrail.training.class_counts import ClassCounts
from vitrail.training.class_weights import balanced, effective_number, enet

COUNTS = ClassCounts(pixels=(600, 300, 100), found_in=(tuple(range(10)), (0, 2, 4, 6, 8), (3,)))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def losses(weights: Any, name: str = "cross_entropy") -> list[dict[str, Any]]:
    return [{"name": name, "options": {"class_weights": weights}}]


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**{"train__iterations": 2, **changes}), output_dir=folder, resume=resume, device="cpu")


def test_the_formulas() -> None:
    assert balanced(COUNTS) == pytest.approx([1000 / 1800, 1000 / 900, 1000 / 300])
    assert enet(COUNTS) == pytest.approx([1 / math.log(1.62), 1 / math.log(1.32), 1 / math.log(1.12)])
    raw = [0.001 / (1 - 0.999**count) for count in (10, 5, 1)]
    assert effective_number(COUNTS) == pytest.approx([3 * weight / sum(raw) for weight in raw])


def counted() -> np.ndarray:
    counts = np.zeros(3, int)
    source = tiny.TinySource("train")
    for index in range(len(source.ids)):
        mask = source.load(index)[1].numpy()
        counts += [(mask == label).sum() for label in range(3)]
    return counts


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_trains_with_the_weights_of_its_masks(tmp_path: Path, workers: int) -> None:
    changes = {"model__losses": losses("balanced"), "data__workers": workers}
    started = TrainingRun(tiny.recipe(**changes, train__loggers=[]), output_dir=tmp_path / "run", device="cpu")
    started.setup()
    counts = counted()
    expected = torch.tensor(counts.sum() / (3 * counts), dtype=torch.float32)
    assert torch.allclose(started.model.criterion.terms[0].class_weights, expected, atol=1e-4)


def test_the_card_holds_numbers_and_a_resumed_run_reads_no_mask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "model__losses": losses("enet", "ohem"),
        "model__auxiliary": {"weight": 0.0, "losses": losses("balanced")},
    }
    result = run(tmp_path / "run", **changes)
    card = checkpoints.load_model(result.last).card
    assert card is not None
    counts = counted()
    values = card.recipe["model"]["losses"][0]["options"]["class_weights"]
    assert values == pytest.approx(1 / np.log(1.02 + counts / counts.sum()), abs=1e-4)
    assert len(card.recipe["model"]["auxiliary"]["losses"][0]["options"]["class_weights"]) == 3
    log = (tmp_path / "run/train.log").read_text()
    assert f"class weights (enet): ground {values[0]:g}, red {values[1]:g}, blue {values[2]:g}" in log
    kept = json.loads((tmp_path / "run/class_counts.json").read_text())
    assert kept["pixels"] == counts.tolist()
    monkeypatch.setattr("vitrail.training.class_counts.count_classes", None)
    run(tmp_path / "run", resume=True, train__iterations=4, **changes)


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RecipeError, match=r"class_weights must be .*'balanced', 'enet', 'effective_number'.*not 'blanced'"
    ):
        run(tmp_path / "a", model__losses=losses("blanced"))
    with pytest.raises(ModelError, match="computed from the masks when a model is trained"):
        CrossEntropyLoss(class_weights="balanced")
    load = tiny.TinySource.load

    def without_blue(self: tiny.TinySource, index: int) -> Any:
        image, mask = load(self, index)
        return image, torch.where(mask == 2, torch.zeros_like(mask), mask)

    monkeypatch.setattr(tiny.TinySource, "load", without_blue)
    with pytest.raises(TrainingError, match=r"no training mask has a pixel of blue"):
        run(tmp_path / "b", model__losses=losses("balanced"))
