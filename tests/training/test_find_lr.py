"""The learning-rate range test."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import tiny_training as tiny

from vitrail.cli import cli
from vitrail.errors import TrainingError
from vitrail.recipes import dump_recipe
from vitrail.training import train
from vitrail.training.find_lr import RangeTest, find_learning_rate


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


def test_the_rate_rises_and_what_is_suggested_trains(tmp_path: Path) -> None:
    recipe = tiny.recipe(optimizer__head_lr=5.0)  # rates are those of the optimizer, not of a group
    result = find_learning_rate(recipe, device="cpu", iterations=60, lowest=1e-4, highest=1e3)
    ratio = (1e3 / 1e-4) ** (1 / 59)
    assert result.rates[0] == pytest.approx(1e-4)
    assert result.rates[5] == pytest.approx(1e-4 * ratio**5)
    lowest = result.losses.index(min(result.losses))
    assert result.suggested == pytest.approx(result.rates[lowest] / 10)
    assert 1e-3 < result.suggested < 10
    assert result.losses[0] > 1.05 * min(result.losses)

    def final(rate: float, name: str) -> float:
        recipe = tiny.recipe(optimizer__lr=rate, optimizer__head_lr=5.0, train__iterations=30, train__log_every=30)
        return next(r["loss"] for r in train(recipe, output_dir=tmp_path / name, device="cpu").history if "loss" in r)

    assert final(result.suggested, "suggested") < final(1e-4, "low")


def test_it_is_reproducible_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, again = (find_learning_rate(tiny.recipe(), device="cpu", iterations=5) for _ in range(2))
    assert first == again and not list(tmp_path.iterdir())


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_recipe(tiny.recipe()))
    result = CliRunner().invoke(cli, ["find-lr", str(tmp_path / "tiny.yaml"), "--iterations", "4", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].startswith("  1.00e-06")
    assert "suggested: optimizer.lr=" in result.output


def test_mistakes_are_named() -> None:
    with pytest.raises(TrainingError, match=r"from 1 to 0\.1 in 100 iterations"):
        find_learning_rate(tiny.recipe(), lowest=1.0, highest=0.1)
    assert "optimizer.lr=1.0e-02" in RangeTest((0.1,), (1.0,), 0.01).table()
