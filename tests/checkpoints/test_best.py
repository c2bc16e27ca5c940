"""The checkpoints that no other one beats in both accuracy and size."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from vitrail.checkpoints import best as best_module
from vitrail.checkpoints import best_table, best_weights, listing
from vitrail.checkpoints.index import Entry
from vitrail.cli import cli
from vitrail.errors import VitrailError


def entry(name: str, miou: float | None, method: str, backbone: str, **options: object) -> Entry:
    model = {"segmentor": method, "backbone": backbone, "num_classes": 19, "options": options}
    recipe = {"model": model, "data": {"dataset": "cityscapes"}}
    return Entry(f"ssseg/{name}", method, backbone, "cityscapes", f"https://x/{name}.pth", miou, recipe=recipe)


ENTRIES = [
    entry("accurate", 0.80, "fcn", "resnet34", channels=64),
    entry("larger-and-worse", 0.75, "fcn", "resnet34", channels=128),
    entry("small", 0.70, "fcn", "resnet18", channels=64),
    entry("smallest", 0.60, "fastscnn", "fastscnn"),
    entry("unknown", None, "fcn", "resnet18", channels=32),
    replace(entry("not-yet", 0.9, "fcn", "resnet18"), unsupported="no such method"),
]


@pytest.fixture(autouse=True)
def _index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "index", lambda: {each.name: each for each in ENTRIES})


def test_every_choice_is_smaller_than_all_that_are_more_accurate() -> None:
    choices = best_weights("cityscapes")
    assert [choice.entry.name for choice in choices] == ["ssseg/accurate", "ssseg/small", "ssseg/smallest"]
    sizes = [choice.parameters for choice in choices]
    assert sizes == sorted(sizes, reverse=True) and 20e6 < sizes[0] < 23e6
    assert [choice.entry.name for choice in best_weights("cityscapes", method="fastscnn")] == ["ssseg/smallest"]
    assert "ssseg/accurate  80.00" in best_table(choices)


def test_the_command_measures_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_module, "SPEED_SIZE", (64, 64))
    done = CliRunner().invoke(cli, ["weights", "--best", "cityscapes", "--method", "fastscnn", "--speed", "--json"])
    assert done.exception is None, done.output
    (row,) = json.loads(done.output)
    assert row["name"] == "ssseg/smallest" and 0 < row["seconds"] < 10
    plain = CliRunner().invoke(cli, ["weights", "--best", "cityscapes"]).output
    assert plain.splitlines()[0].split() == ["name", "mIoU", "parameters"]


@pytest.mark.parametrize("arguments", [["--speed"], ["fcn", "--best", "cityscapes"]])
def test_what_does_not_go_together_is_refused(arguments: list[str]) -> None:
    with pytest.raises(VitrailError, match=r"goes? with"):
        CliRunner().invoke(cli, ["weights", *arguments], catch_exceptions=False)
