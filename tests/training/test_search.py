"""Hyper-parameter search: what it finds, prunes and survives."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers import tiny_training as tiny

from vitrail.cli import cli
from vitrail.errors import RecipeError, TrainingError
from vitrail.evaluation import Evaluation
from vitrail.recipes import dump_recipe, override_recipe
from vitrail.training import TrainingRun, train
from vitrail.training import search as searching
from vitrail.training.search import search
from vitrail.training.search_space import Choice, Range, check_space, read_space

pytest.importorskip("optuna")
SPACE = {"optimizer.lr": Range(1e-3, 0.1, log=True), "train.batch_size": Range(2, 6, step=2)}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def recipe(**changes: Any) -> Any:
    return tiny.recipe(**{"train__iterations": 4, "train__eval_every": 2, **changes})


def results_in(output: str) -> list[str]:
    """Return the four lines of the table and that of the best overrides, between which trainings write to stderr."""
    lines = [line for line in output.splitlines() if re.match(r"trial +state|\d+ +complete|\d+ +pruned|best, in", line)]
    assert len(lines) == 5
    return lines


def test_three_trials_and_the_best_overrides(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe()))
    (tmp_path / "space.yaml").write_text(
        "optimizer.lr: {low: 1.0e-3, high: 0.1, log: true}\n"
        "model.losses: [[{name: cross_entropy}], [{name: dice, weight: 2.0}]]\n"
    )
    command = ["search", str(tmp_path / "tiny.yaml"), "--space", str(tmp_path / "space.yaml"), "--device", "cpu"]
    result = CliRunner().invoke(cli, [*command, "--trials", "3", "-o", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    _, *rows, best = results_in(result.output)
    figures = [float(row.split()[2]) for row in rows]
    assert figures == sorted(figures, reverse=True)
    number = int(rows[0].split()[0])
    assert best.startswith(f"best, in {tmp_path / 'runs'}/trial-{number:03d}: optimizer.lr=0.0")
    lines = (tmp_path / f"runs/trial-{number:03d}/log.jsonl").read_text().splitlines()
    assert max(json.loads(line).get("miou") or 0 for line in lines) == pytest.approx(figures[0] / 100, abs=5e-5)
    again = CliRunner().invoke(cli, [*command, "--trials", "3", "-o", str(tmp_path / "runs")])
    assert results_in(again.output) == results_in(result.output), "nothing is left to train"
    assert sorted(path.name for path in (tmp_path / "runs").glob("trial-*")) == ["trial-000", "trial-001", "trial-002"]


def test_an_interrupted_training_is_resumed_with_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def interrupted(self: TrainingRun, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 8:  # the last of the second trial
            raise KeyboardInterrupt
        return TrainingRun.train_step(self, *args)

    monkeypatch.setattr(searching._TrialRun, "train_step", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        search(recipe(), SPACE, trials=2, output_dir=tmp_path, device="cpu")
    result = search(recipe(), SPACE, trials=2, output_dir=tmp_path, device="cpu")
    assert steps == 7 + 1 + 2, "from the last checkpoint on"
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    second = result.trials[1]
    assert second.folder == "trial-001"
    whole = train(override_recipe(recipe(), second.overrides), output_dir=tmp_path / "whole", device="cpu")
    assert second.miou == max(record["miou"] for record in whole.history if record["event"] == "evaluation")
    with pytest.raises(TrainingError, match="holds a search with another space"):
        search(recipe(), {"optimizer.lr": Range(1e-3, 0.2)}, trials=2, output_dir=tmp_path, device="cpu")
    with pytest.raises(TrainingError, match="holds a search with another recipe"):
        search(recipe(train__ema=0.9), SPACE, trials=2, output_dir=tmp_path, device="cpu")


def test_poor_trials_are_pruned_and_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "STARTUP_TRIALS", 1)
    rates = iter([0.05, 1e-9, 1e4])
    monkeypatch.setattr(Range, "suggest", lambda self, trial, key: next(rates))

    def only_the_first_learns(self: TrainingRun) -> Evaluation:
        confusion = torch.eye(3, dtype=torch.int64)
        if self.recipe.optimizer.lr != 0.05:
            confusion = confusion.flip(0)
        return replace(TrainingRun.evaluate(self), confusion=confusion)

    monkeypatch.setattr(searching._TrialRun, "evaluate", only_the_first_learns, raising=False)
    given = recipe(train__iterations=12, train__eval_every=4)
    result = search(given, {"optimizer.lr": Range(0.1, 1.0)}, trials=3, output_dir=tmp_path, device="cpu")
    states = {trial.number: trial for trial in result.trials}
    assert states[0].state == "complete" and result.best == states[0]
    assert states[1].state == "pruned" and "iteration 4" in states[1].why
    assert states[2].state == "failed" and states[2].miou is None
    assert "–" in result.table()


def test_spaces_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    for text, message in [
        (
            "optimizer.lr: {low: 1, hihg: 2}",
            r"space.yaml:1: optimizer.lr: should be a list of values, or a range such as",
        ),
        ("a: [1]\nb: {low: 2, high: 1}", r"space.yaml:2: b: low \(2\) should be below high"),
        ("a: {low: 0.0, high: 1.0, log: true}", "log needs low above 0"),
        ("a: {low: 0, high: 1, stepp: 1}", r"unknown key 'stepp'. Did you mean 'step'\?"),
        ("a: {low: 0, high: 4, step: 0.5}", "write low: 0.0"),
        ("a: {low: x, high: 4}", "low, high and step are numbers"),
        ("[1]", "should be a mapping from keys of the recipe"),
    ]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            read_space(path)
    path.write_text("optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\ntrain.batch_size: [2, 4]\n")
    space = read_space(path)
    assert space == {"optimizer.lr": Range(1e-4, 1e-2, log=True), "train.batch_size": Choice((2, 4))}
    check_space(space, recipe())
    with pytest.raises(RecipeError, match=r"optimizer.lrr: unknown key. Did you mean"):
        check_space({"optimizer.lrr": Range(0.1, 0.2)}, recipe())
    with pytest.raises(RecipeError, match=r"train.batch_size: should be"):
        check_space({"train.batch_size": Choice((2, "many"))}, recipe())
    with pytest.raises(TrainingError, match="0 trials"):
        search(recipe(), SPACE, trials=0, output_dir=tmp_path / "runs")
