"""Published models evaluated as they were published: results are kept, and what fails is tried again."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.evaluation_models import CLASSES, PALETTE
from PIL import Image

from vitrail.checkpoints import index as index_module
from vitrail.checkpoints import save_model
from vitrail.cli import cli
from vitrail.errors import CheckpointError, DatasetError
from vitrail.evaluation import evaluate
from vitrail.evaluation.verify import read_verifications, verify_published
from vitrail.segmentors import ModelCard, create_model

RECIPE = {
    "name": "small",
    "model": {"segmentor": "fastscnn"},
    "data": {"dataset": "folder", "eval_split": "all", "workers": 0},
    "train": {"epochs": 1},
    "evaluation": {"mode": "slide", "window": [24, 24], "stride": [16, 16]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for kind, values in (("images", (256, (32, 40, 3))), ("masks", (len(CLASSES), (32, 40)))):
        folder = tmp_path / "data" / kind
        folder.mkdir(parents=True)
        for name in "ab":
            Image.fromarray(generator.integers(values[0], size=values[1]).astype(np.uint8)).save(folder / f"{name}.png")
    (tmp_path / "data/classes.txt").write_text("\n".join(CLASSES))
    return tmp_path / "data"


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(CLASSES, PALETTE, recipe=RECIPE, name="small", metrics={"miou": 0.9})


@pytest.fixture
def model_file(tmp_path: Path, card: ModelCard) -> Path:
    model = create_model("fastscnn", None, len(CLASSES), card=card)
    with torch.no_grad():
        for parameter in model.parameters():  # so that it predicts more than one class
            parameter.normal_()
    save_model(model, tmp_path / "files/small.safetensors")
    return tmp_path / "files/small.safetensors"


@pytest.fixture
def address(model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("VITRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VITRAIL_OFFLINE", raising=False)
    handler = functools.partial(Quiet, directory=str(model_file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_downloaded_model_is_measured_by_its_own_protocol(root: Path, address: str, tmp_path: Path) -> None:
    name, results = f"{address}/small.safetensors", tmp_path / "results.json"
    (row,) = verify_published([name], [str(root)], results=results, device="cpu")
    expected = evaluate(tmp_path / "files/small.safetensors", data_root=root, device="cpu")
    whole = evaluate(
        tmp_path / "files/small.safetensors", overrides=["evaluation.mode=whole"], data_root=root, device="cpu"
    )
    assert (row.measured, row.published, row.images, row.error) == (expected.miou, 0.9, 2, "")
    assert row.measured != whole.miou and row.difference == pytest.approx(expected.miou - 0.9)
    assert read_verifications(results) == {name: row}


def test_what_is_done_is_not_done_again_and_what_failed_is(root: Path, model_file: Path, tmp_path: Path) -> None:
    results, later = tmp_path / "results.json", tmp_path / "later.safetensors"
    first, second = verify_published([str(model_file), str(later)], [str(root)], results=results, device="cpu")
    assert "no model file" in second.error and second.measured is None
    stored = json.loads(results.read_text())
    stored[0]["measured"] = 0.123
    results.write_text(json.dumps(stored))
    later.write_bytes(model_file.read_bytes())
    kept, made = verify_published([str(model_file), str(later)], [str(root)], results=results, device="cpu")
    assert (kept.measured, made.measured, made.error) == (0.123, first.measured, "")
    changes = ["evaluation.scales=[0.5]"]
    (other,) = verify_published([str(model_file)], [str(root)], results=results, overrides=changes, device="cpu")
    assert other.overrides == tuple(changes) and other.measured not in (None, 0.123)
    assert verify_published([str(model_file)], [str(root)], results=results, overrides=changes, device="cpu") == [other]


def test_files_of_published_checkpoints_may_lie_in_a_folder(
    root: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = next(entry for entry in index_module.index().values() if not entry.unsupported)
    entry = replace(known, url="https://example.org/some/small.safetensors")
    monkeypatch.setattr("vitrail.evaluation.verify.index", lambda: {entry.name: entry})
    (row,) = verify_published([entry.name], [f"folder={root}"], results=tmp_path / "r", files=model_file.parent)
    assert row.error == "" and row.images == 2
    (row,) = verify_published([entry.name], [f"folder={root}"], results=tmp_path / "s", files=tmp_path)
    assert f"no {tmp_path / 'small.safetensors'}, which is the file of {entry.name}" in row.error


def test_the_command_prints_both_figures_and_tells_by_its_status(root: Path, model_file: Path, tmp_path: Path) -> None:
    arguments = ["zoo", "verify", str(model_file), "--results", str(tmp_path / "r.json"), "--device", "cpu"]
    done = CliRunner().invoke(cli, [*arguments, "--data-root", str(root)])
    assert done.exit_code == 1  # far below what the card says
    assert "90.00" in done.output and "folder" in done.output
    assert CliRunner().invoke(cli, [*arguments, "--data-root", str(root), "--tolerance", "100"]).exit_code == 0
    as_json = CliRunner().invoke(cli, [*arguments, "--data-root", str(root), "--json"]).output
    assert json.loads(as_json)[0]["published"] == 0.9


def test_mistakes_are_said_before_anything_is_computed(root: Path, model_file: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    with pytest.raises(DatasetError, match=r"there is no .*nowhere: give the folder of a dataset"):
        verify_published([str(model_file)], ["camvid=nowhere"], results=results)
    with pytest.raises(DatasetError, match="is given twice"):
        verify_published([str(model_file)], [str(root), str(root)], results=results)
    with pytest.raises(CheckpointError, match="no published checkpoint that vitrail loads matches"):
        verify_published(["mmseg/nothing*"], [str(root)], results=results)
    for text in ('{"a": 1}', "[[1]]", '[{"name": "x", "measured": "y"}]', '[{"name": "x", "strange": 1}]', "5"):
        results.write_text(text)
        with pytest.raises(CheckpointError, match="does not hold results of `vitrail zoo verify`"):
            verify_published([str(model_file)], [str(root)], results=results)
    results.unlink()
    (row,) = verify_published([str(model_file)], [f"camvid={root}"], results=results)
    assert row.error == "no folder of folder is given (--data-root folder=FOLDER)"
