"""What is printed does not control the terminal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import vitrail.cli
from vitrail.cli.output import echo
from vitrail.errors import VitrailError
from vitrail.files.printable import PrintableWarnings, printable
from vitrail.recipes import recipe_from_dict
from vitrail.training.loggers import RunInfo, create_loggers
from vitrail.training.plan import make_plan

ESCAPE = "\x1b]0;PWNED\x07\x1b[2J"


def test_names_are_printed_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"{ESCAPE}road\n\tcar \udcdf \x9b31m é 道")
    assert capsys.readouterr().out == "\\x1b]0;PWNED\\x07\\x1b[2Jroad\n\tcar \\udcdf \\x9b31m é 道\n"
    assert printable("plain") == "plain"


def test_so_are_messages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise VitrailError(f"no image is called {ESCAPE}")

    monkeypatch.setattr(vitrail.cli, "cli", fail)
    with pytest.raises(SystemExit) as ended:
        vitrail.cli.main()
    assert ended.value.code == 2 and "\x1b" not in capsys.readouterr().err


def test_so_are_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    handler = PrintableWarnings()
    logger = logging.Logger("vitrail.of-a-test")
    logger.addHandler(handler)
    logger.warning("%s is no image", ESCAPE)
    logger.info("not shown")
    assert capsys.readouterr().err == "\\x1b]0;PWNED\\x07\\x1b[2J is no image\n"


def test_so_is_the_log_of_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = {"segmentor": "fastscnn"}, {"dataset": "scenes"}
    settings = {"name": ESCAPE, "model": model, "data": data, "train": {"epochs": 1}}
    recipe = recipe_from_dict(settings)
    log = create_loggers(recipe.train.loggers)["text"]
    record = {"event": "start", "iteration": 0, "device": "cpu", "processes": 1, "parameters": 1, "images": 10}
    plan = make_plan(recipe.train, 100)
    log.start(RunInfo(tmp_path, recipe, plan, {**record, "notes": [f"class {ESCAPE}\udcdf"]}, ()), {})
    log.finish(None)
    for text in (capsys.readouterr().err, (tmp_path / "train.log").read_text()):
        assert "training \\x1b]0;PWNED\\x07\\x1b[2J on cpu" in text and "\x1b" not in text
        assert "class \\x1b]0;PWNED\\x07\\x1b[2J\\udcdf" in text
