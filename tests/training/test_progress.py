"""Training tells the heads the names of the classes, and before every step how far it is."""

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


def test_the_average_of_the_weights_is_told_before_it_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    told: list[tuple[Head, Progress]] = []
    monkeypatch.setattr(Head, "set_progress", lambda self, progress: told.append((self, progress)))
    recipe = tiny.recipe(train__iterations=4, train__eval_every=2, train__ema=0.5)
    average = train(recipe, output_dir=tmp_path, device="cpu").model
    assert [progress.done for head, progress in told if head is average.head] == [
        progress.done for head, progress in told if head is not average.head
    ][1::2]


def test_the_names_of_the_classes_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(Head, "name_classes", lambda self, names: told.append(tuple(names)))
    train(tiny.recipe(train__iterations=1), output_dir=tmp_path, device="cpu")
    assert told == [tiny.BENCHMARK.classes]
