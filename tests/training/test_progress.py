"""Training tells the heads how far it is, before every step."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import tiny_training as tiny

from vitrail.segmentors import Head, Progress
from vitrail.training import train


def test_every_step_is_announced_with_its_epoch_and_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    told: list[Progress] = []
    monkeypatch.setattr(Head, "set_progress", lambda self, progress: told.append(progress))
    recipe = tiny.recipe(train__batch_size=13, train__iterations=None, train__epochs=3, schedule__power=1.0)
    train(recipe, output_dir=tmp_path, device="cpu")
    assert [progress.epoch for progress in told] == [1, 1, 2, 2, 3, 3]
    assert [progress.lr_factor for progress in told] == pytest.approx([(6 - i) / 6 for i in range(6)])
