"""Training states of any content: a run that goes on from them or a VitrailError."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny
from helpers.hostile import DURATIONS, altered, check_outcomes, damaged

from vitrail.training import TrainingResult, train
from vitrail.training.folder import STATE

CHANGES = {
    "optimizer__name": "adamw",
    "optimizer__lr": 0.001,
    "train__iterations": 3,
    "train__batch_size": 1,
    "train__eval_every": 1,
    "train__save_every": 1,
    "train__ema": 0.9,
    "train__early_stopping": {"patience": 9},
}


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**{**CHANGES, **changes}), output_dir=folder, resume=resume, device="cpu")


@DURATIONS
def test_states_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    tiny.register(monkeypatch.setitem)
    monkeypatch.setitem(tiny.IMAGES, "val", 1)
    run(tmp_path / "first", train__iterations=2)
    whole = (tmp_path / "first" / STATE).read_bytes()
    content = torch.load(tmp_path / "first" / STATE, weights_only=True)

    def read(state: Any) -> None:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "first", tmp_path / "run")
        path = tmp_path / "run" / STATE
        if isinstance(state, bytes):
            path.write_bytes(state)
        else:
            torch.save(state, path)
        run(tmp_path / "run", resume=True)

    read(content)
    assert torch.load(tmp_path / "run" / STATE, weights_only=True)["iteration"] == 3
    check_outcomes(altered(content) | damaged(whole), read, count=40, seconds=seconds)
