"""Runs with mixed images and class sampling are resumed exactly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny

from vitrail.errors import TrainingError
from vitrail.training import train
from vitrail.training.folder import STATE

CHANGES = {
    "data__workers": 2,
    "data__class_sampling": {"probability": 0.7, "temperature": 0.3},
    "data__augment": {
        "crop": [32, 32],
        "class_crop": 0.5,
        "extra": [
            {"name": "copy_paste", "options": {"classes": ["red", "blue"]}},
            {"name": "mosaic", "probability": 0.5},
        ],
    },
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    # the number of workers may change
    first = tiny.recipe(**{**CHANGES, "data__workers": 0}, train__iterations=5, schedule__name="constant")
    train(first, output_dir=tmp_path / "parts", device="cpu")
    longer = tiny.recipe(**CHANGES, train__iterations=8, schedule__name="constant")
    train(longer, output_dir=tmp_path / "parts", resume=True, device="cpu")
    train(longer, output_dir=tmp_path / "constant", device="cpu")
    one, other = (torch.load(tmp_path / name / STATE, weights_only=True)["model"] for name in ("parts", "constant"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    kept = json.loads((tmp_path / "parts/class_counts.json").read_text())
    assert len(kept["found_in"][0]) == 26
    changed = tiny.recipe(**{**CHANGES, "data__class_sampling": {}}, train__iterations=9, schedule__name="constant")
    with pytest.raises(TrainingError, match=r"data\.class_sampling\.probability was 0\.7, is 1\.0"):
        train(changed, output_dir=tmp_path / "parts", resume=True, device="cpu")
