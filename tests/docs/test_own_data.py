"""The guide to one's own data is followed literally, and its tables hold every key and format."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail import cli
from vitrail.datasets import create_dataset
from vitrail.datasets.class_file import ClassFile
from vitrail.datasets.formats.recognise import RECOGNISERS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
CLASSES = np.array([0, 1, 2])
MASKS = {
    "index": np.array([0, 1, 2], np.uint8),
    "colour": np.array([[0, 0, 0], [255, 200, 0], [200, 0, 200]], np.uint8),
    "binary": np.array([0, 255, 0], np.uint8),
}
QUICK = {"train": ["train.epochs=1", "train.batch_size=4", "data.augment.crop=[64,64]", "data.workers=0"]}


def block(marker: str) -> str:
    """Return the content of the code block behind a marker of the page."""
    found = re.search(rf"<!-- journey: {re.escape(marker)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, marker
    return found[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    return tmp_path


def make_bees(root: Path, kind: str) -> None:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(1, 13):
        random = np.random.default_rng(number)
        shown = np.kron(random.integers(0, 3, (4, 4)), np.ones((24, 24), int))
        shown[:24, :72] = np.repeat(CLASSES, 24)
        noise = random.integers(0, 60, (96, 96, 3)) + shown[..., None] * 90
        Image.fromarray(noise.astype(np.uint8)).save(root / "images" / f"{number:02d}.jpg")
        Image.fromarray(MASKS[kind][shown]).save(root / "masks" / f"{number:02d}.png")


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [program, *words, *QUICK.get(words[0], [])])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, command


@pytest.mark.parametrize(("kind", "file"), [("index", "txt"), ("colour", "yaml"), ("binary", "yaml")])
def test_the_masks_of_the_guide_are_read_as_it_says(here, monkeypatch, capsys, kind, file):
    make_bees(here / "bees", kind)
    (here / f"bees/classes.{file}").write_text(block(f"{kind} classes.{file}"))
    check = block("commands").splitlines()[0].removeprefix("$ ")
    run(check, monkeypatch)
    assert "stop" not in capsys.readouterr().out
    dataset = create_dataset("folder", here / "bees", "all")
    assert dataset.benchmark.classes[:2] == ("background", "bee")
    truth = np.kron(np.random.default_rng(1).integers(0, 3, (4, 4)), np.ones((24, 24), int))
    truth[:24, :72] = np.repeat(CLASSES, 24)
    assert np.array_equal(dataset[0]["mask"], truth if kind != "binary" else truth == 1)


def test_the_commands_of_the_guide_run(here, monkeypatch):
    make_bees(here / "bees", "index")
    (here / "bees/classes.txt").write_text(block("index classes.txt"))
    for line in block("commands").splitlines():
        run(line.removeprefix("$ "), monkeypatch)
    assert len(list((here / "runs/bees/pictures").glob("*_overlay.png"))) == 12


def test_every_key_and_format_is_in_the_guide():
    assert set(ClassFile.model_fields) <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {name for name, _ in RECOGNISERS} <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
