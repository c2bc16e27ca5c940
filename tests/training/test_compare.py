"""Runs compared: the table, what differs in their recipes, the page."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from helpers import tiny_training as tiny

from vitrail.cli import cli
from vitrail.errors import TrainingError
from vitrail.training import train
from vitrail.training.compare import differences, read_run, rows, table
from vitrail.training.compare_page import chart


def write(folder: Path, *mious: float | None, lr: float = 0.01) -> Path:
    """Write the log of a run with an evaluation after every tenth iteration."""
    recipe = {"name": "tiny", "model": {"segmentor": "fcn"}, "optimizer": {"lr": lr}}
    records = [{"event": "start", "iteration": 0, "recipe": recipe}]
    for number, miou in enumerate(mious, start=1):
        at = 10 * number
        records.append({"event": "train", "iteration": at, "loss": 1 / at, "lr": lr, "images_per_second": 5.0 * at})
        records.append({"event": "evaluation", "iteration": at, "miou": miou})
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_the_best_run_comes_first_with_its_best_evaluation(tmp_path: Path) -> None:
    runs = [read_run(write(tmp_path / "a", 0.2, 0.3, 0.25)), read_run(write(tmp_path / "b", 0.5, None, lr=0.1))]
    runs.append(read_run(write(tmp_path / "c")))
    _, first, second, third = rows(runs)
    assert first[0].endswith("b") and first[1:] == ("tiny", "20", "0.0500", "50.00", "10", "–", "100.0")
    assert second[0].endswith("a") and second[1:] == ("tiny", "30", "0.0333", "30.00", "20", "25.00", "100.0")
    assert third[2:] == ("0", "–", "–", "–", "–", "–")
    assert differences(runs) == {"optimizer.lr": [0.01, 0.1, 0.01]}
    assert differences(runs[:1]) == {}


def test_a_real_run_is_read_and_its_page_is_well_formed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)
    for name, rate in (("a", 0.05), ("b & c", 0.01)):
        train(tiny.recipe(optimizer__lr=rate, train__eval_every=6), output_dir=tmp_path / name, device="cpu")
    folders = [str(tmp_path / "a"), str(tmp_path / "b & c")]
    result = CliRunner().invoke(cli, ["compare", *folders, "--page", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert re.search(r"optimizer\.lr +0\.05 +0\.01", result.output)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "b &amp; c" in page and "b & c" not in page and "<script" not in page
    drawings = re.findall(r"<svg.*?</svg>", page)
    assert len(drawings) == 3
    assert [len(ElementTree.fromstring(drawing).findall("polyline")) for drawing in drawings] == [2, 2, 2]


def test_a_chart_puts_values_where_they_belong() -> None:
    drawing = ElementTree.fromstring(chart([[(0, 1.0), (100, 3.0)], [(50, 2.0)], []]))
    (line,), (dot,) = drawing.findall("polyline"), drawing.findall("circle")
    assert line.get("points") == "56.0,232.0 550.0,10.0"
    assert (dot.get("cx"), dot.get("cy")) == ("303.0", "121.0")
    assert chart([[], []]) == "<p>No values.</p>"


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no log\.jsonl in .*train\.loggers"):
        read_run(tmp_path)
    for text in ("", "{", "[1]\n", '{"event": "train", "iteration": 1}\n'):
        (tmp_path / "log.jsonl").write_text(text)
        with pytest.raises(TrainingError, match=r"log\.jsonl is no log of a run"):
            read_run(tmp_path)


def line(**record: Any) -> str:
    return f"{json.dumps({'event': 'start', 'iteration': 0, 'recipe': {'name': 'x'}})}\n{json.dumps(record)}\n"


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"event": "start", "iteration": 0, "recipe": [1]}',
        b'{"event": "start", "iteration": 0, "recipe": {}}',
        b'{"event": "start", "iteration": 0, "recipe": {"name": 5}}',
        line(event="evaluation", iteration=1).encode(),
        line(event="evaluation", iteration=1, miou="<script>").encode(),
        line(event="train", iteration=None, loss=1.0).encode(),
        line(event="train", iteration=1, loss=[1]).encode(),
        line(event="train", iteration=float("nan"), loss=1.0).encode(),
    ],
)
def test_logs_of_any_content_are_read_or_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(text)
    with pytest.raises(TrainingError, match=r"log\.jsonl is no log of a run"):
        table([read_run(tmp_path)])


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(TrainingError, match="a pipe or a device"):
        read_run(tmp_path)
