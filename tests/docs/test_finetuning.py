"""The commands and recipes of the page about fine-tuning do what the page says, on a dozen small images."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import vitrail
from vitrail.cli import cli
from vitrail.datasets.write import write_dataset
from vitrail.recipes import load_recipe
from vitrail.training import TrainingRun

PAGE = (Path(__file__).parents[2] / "docs/finetuning.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ vitrail (.+)$", PAGE, re.MULTILINE)
BLOCKS = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
SMALL = ["data.augment.crop=[64,64]", "train.batch_size=4", "data.workers=0"]


@pytest.fixture
def bees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    options = {"size": (64, 96), "train": 12, "val": 3}
    write_dataset("scenes", None, ["train", "val"], tmp_path / "bees", options=options)
    return tmp_path / "bees"


def length(command: list[str]) -> list[str]:
    """Return overrides that make the run of a command short."""
    return ["train.iterations=2"] if "finetune" in command[1] else ["train.epochs=1"]


def test_every_command_runs(bees: Path, tmp_path: Path) -> None:
    assert len(COMMANDS) == 7
    for line in COMMANDS:
        command = shlex.split(line)
        short = [*SMALL, *length(command), "train.eval_every=1"]
        if command[0] == "find-lr":
            short = [*SMALL, "--iterations=3"]
        result = CliRunner().invoke(cli, [*command, *short], catch_exceptions=False)
        assert result.exit_code == 0, (line, result.output)
    card = vitrail.load(tmp_path / "runs/once_more/best.safetensors").card
    assert card is not None
    assert card.started_from.startswith("best.safetensors, started from fastscnn_camvid")
    log = (tmp_path / "runs/bees/train.log").read_text()
    assert "starting from fastscnn_camvid" in log


def test_the_recipes_on_the_page_are_valid(bees: Path, tmp_path: Path) -> None:
    assert len(BLOCKS) == 2
    for index, block in enumerate(BLOCKS):
        text = block if block.startswith("base:") else f"base: fastscnn_finetune\n{block}"
        (tmp_path / f"{index}.yaml").write_text(text)
        overrides = [*SMALL, "train.iterations=1"]
        vitrail.train(
            tmp_path / f"{index}.yaml", output_dir=tmp_path / f"run{index}", data_root=bees, overrides=overrides
        )
    assert "class weights (balanced): " in (tmp_path / "run1/train.log").read_text()


def test_the_recipes_that_are_named_start_from_a_trained_model() -> None:
    names = set(re.findall(r"`?(\w+_finetune)`?", PAGE))
    assert names == {"fastscnn_finetune", "pspnet_resnet50os8_finetune"}
    assert {load_recipe(name).train.start_from for name in names} == {
        "fastscnn_camvid",
        "ssseg/pspnet_resnet50os8_ade20k",
    }


def test_the_log_on_the_page_is_that_of_a_run(bees: Path, tmp_path: Path) -> None:
    overrides = ["train.iterations=1", *SMALL, "data.options={size: [64, 96], train: 8, val: 2}", "train.epochs=null"]
    run = TrainingRun(
        "fastscnn_scenes", output_dir=tmp_path / "run", overrides=overrides, start_from="fastscnn_camvid", device="cpu"
    )
    run.run()
    shown = PAGE.partition("```text\n")[2].partition("```")[0]
    assert shown in (tmp_path / "run/train.log").read_text()
