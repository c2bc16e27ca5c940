"""Training tells the heads how far it is, before every step."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from vitrail.engine import train
from vitrail.segmentors import Head, Progress


def load_tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_training", Path(__file__).with_name("tiny_training.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_is_announced_with_its_epoch_and_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = load_tiny()
    tiny.register(monkeypatch.setitem)
    told: list[Progress] = []
    monkeypatch.setattr(Head, "set_progress", lambda self, progress: told.append(progress))
    recipe = tiny.recipe(train__batch_size=13, train__iterations=None, train__epochs=3, schedule__power=1.0)
    train(recipe, output_dir=tmp_path, device="cpu")
    assert [progress.epoch for progress in told] == [1, 1, 2, 2, 3, 3]
    assert [progress.lr_factor for progress in told] == pytest.approx([(6 - i) / 6 for i in range(6)])
