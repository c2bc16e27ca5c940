"""The GPU benchmark, rehearsed on a CPU: every kind of row is measured, and what is not measured is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.cuda.card import Card
from benchmarks.cuda.checks import Check, check_methods
from benchmarks.cuda.ours import built_model
from benchmarks.cuda.peers import PEERS, Mmseg, Peer, Ssseg
from benchmarks.cuda.report import Outcome, Report
from benchmarks.cuda.rows import VITRAIL, rows_of
from benchmarks.cuda.timing import Stopwatch, Timing, run
from benchmarks.cuda.workload import WORKLOADS

CPU = torch.device("cpu")
CARD = Card("a card", 80.0, {"PyTorch": "2"}, matrix_tflops=800.0, copy_gbs=3000.0)


def rehearse(folder: Path, *arguments: str) -> list[dict]:
    gpu.main(["--device", "cpu", "--tiny", "--no-checks", "--out", str(folder), *arguments])
    return json.loads((folder / "gpu.json").read_text())["rows"]


def test_rehearsal_measures_training_inference_and_predictor(tmp_path, capsys, monkeypatch):
    for peer in (Mmseg, Ssseg):  # whose imports take longer than all else here
        monkeypatch.setattr(peer, "missing", lambda self: f"{self.toolbox} is not installed")
    rows = rehearse(tmp_path, "--only", "fastscnn")
    mine = [row for row in rows if row["toolbox"] == VITRAIL]
    assert {row["work"] for row in mine if row["timing"]} == {"fastscnn-train", "fastscnn-infer", "fastscnn-predictor"}
    unmeasured = {row["problem"] for row in mine if not row["timing"]}
    assert unmeasured == {"needs CUDA"}
    others = {row["problem"] for row in rows if row["toolbox"] in ("MMSegmentation", "SSSegmentation")}
    assert others == {"needs CUDA", "MMSegmentation is not installed", "SSSegmentation is not installed"}
    assert all(row["timing"] or row["problem"] for row in rows)
    assert all(row["tflop"] > 0 for row in mine if row["timing"])
    assert (tmp_path / "gpu.md").read_text().strip() in capsys.readouterr().out


class OneConvolution(Peer):
    """The smallest of toolboxes."""

    toolbox, module = "tiny", "torch"

    def build(self, work):
        return torch.nn.Conv2d(3, work.classes, 1)

    def loss(self, model, images, targets):
        return torch.nn.functional.cross_entropy(model(images), targets, ignore_index=255)

    def logits(self, model, images):
        return model(images)


@pytest.mark.parametrize("name", ["fastscnn-train", "fastscnn-infer"])
def test_another_toolbox_is_measured_as_shipped_and_tuned(name, tmp_path, monkeypatch):
    monkeypatch.setitem(PEERS, name, (OneConvolution(),))
    rows = rehearse(tmp_path, "--only", f"{name} · tiny")
    assert {row["how"] for row in rows if row["timing"]} == {"as shipped, float16", "tuned, bfloat16"}


@pytest.mark.parity
@pytest.mark.nightly
@pytest.mark.parametrize("name", PEERS)
def test_models_of_other_toolboxes_have_our_size(name):
    work = next(work for work in WORKLOADS if work.name == name)
    ours = weights(built_model(work, CPU))
    for peer in PEERS[name]:
        if not peer.missing() and not peer.note:
            assert weights(peer.build(work)) == pytest.approx(ours, rel=1e-3), peer.toolbox


def weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_rows_without_time_are_named(tmp_path):
    rows = rehearse(tmp_path, "--only", "fastscnn-train", "--budget", "0")
    assert {row["problem"] for row in rows} == {"left out: no time"}


def test_a_row_that_fails_is_noted_and_the_next_is_measured(tmp_path):
    def fail(watch: Stopwatch) -> None:
        raise torch.OutOfMemoryError("too large\nwith details")

    work = next(work for work in WORKLOADS if work.name == "fastscnn-infer").small()
    good = rows_of(work)[0]
    benchmark = gpu.Benchmark(CPU, budget=60, tiny=True, folder=tmp_path)
    benchmark.measure([replace(good, how="too large", measure=fail), good])
    assert [outcome.problem for outcome in benchmark.outcomes] == ["OutOfMemoryError: too large", ""]


def test_unknown_names_are_answered_with_the_known_ones(tmp_path):
    with pytest.raises(SystemExit, match="fastscnn-train · vitrail · bfloat16"):
        rehearse(tmp_path, "--only", "no such row")
    with pytest.raises(SystemExit, match="fastscnn-train · vitrail · bfloat16"):
        gpu.main(["--device", "cpu", "--tiny", "--profile", "no such row"])


def test_profile_prints_the_operations(capsys):
    gpu.main(["--device", "cpu", "--tiny", "--profile", "fastscnn-infer"])
    printed = capsys.readouterr().out
    assert "fastscnn-infer · vitrail · model" in printed and "conv" in printed


def test_stopwatch_leaves_the_warm_up_out():
    done: list[int] = []
    watch = Stopwatch(CPU, warmup=2, steps=5)
    run(lambda: done.append(1), watch)
    timing = watch.result()
    assert len(done) == 2 + 5 == 2 + timing.steps
    assert timing.fastest <= timing.milliseconds <= timing.slowest


def test_checks_stop_when_the_time_is_up():
    checks = list(check_methods(CPU, seconds=-1))
    assert checks and {check.error for check in checks} == {"left out: no time"}


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (Check("m", 1e-6), True),
        (Check("m", 1e-2), False),
        (Check("m", float("nan")), False),
        (Check("m", 1e-6, ("losses in float16",)), False),
        (Check("m", error="an error"), False),
    ],
)
def test_a_check_passes_only_when_all_is_well(check, passed):
    assert check.passed is passed


def test_summary_compares_the_best_with_the_best():
    mine, *_, other = rows_of(next(work for work in WORKLOADS if work.name == "pspnet-train"))
    outcomes = [
        Outcome(mine, Timing(200, 1, 1, 1, 9.0, 1.0), tflop=16.0),
        Outcome(replace(mine, how="better"), Timing(50, 1, 1, 1, 10.0, 1.0), tflop=16.0),
        Outcome(other, Timing(100, 1, 1, 1, 20.0, 1.0), tflop=16.0),
        Outcome(replace(other, how="leaner"), Timing(300, 1, 1, 1, 15.0, 1.0), tflop=16.0),
        Outcome(replace(other, how="failed"), problem="out of memory"),
    ]
    line = Report(CARD, [], outcomes).summary().splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "50.00 (better)" and cells[2].startswith("100.00 (")
    assert cells[3:] == ["2.00", "9.00", "15.00", "0.60"]
    assert outcomes[1].share(CARD) == pytest.approx(16.0 / 0.050 / 800.0)
    assert "out of memory" in Report(CARD, [], outcomes).markdown()
    assert Report(CARD, [], []).data()["rows"] == []
