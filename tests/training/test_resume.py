"""Runs that are killed and go on as if they had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

from vitrail import checkpoints
from vitrail.errors import CheckpointError, TrainingError
from vitrail.training import TrainingResult, train
from vitrail.training.checkpoint import STATE

PROGRAM = Path(tiny.__file__)


# 26 images in batches of 4 make epochs of 6 iterations: a kill at 10 and a checkpoint at 8 both lie inside the second.
CHANGES: dict[str, Any] = {"train__iterations": 12, "train__save_every": 8, "train__eval_every": 8}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.register(monkeypatch.setitem)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        tiny.register(patch.setitem)
        train(tiny.fastscnn(**CHANGES), output_dir=folder, device="cpu")
    return folder


def killed(folder: Path, step: int) -> None:
    job = {"folder": str(folder), "base": "fastscnn", "changes": CHANGES, "die_at_step": step}
    command, environment = [sys.executable, str(PROGRAM), json.dumps([job])], {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Compare nested plain data and tensors, bit for bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}.{index}")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs, where


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return state


def assert_same_run(ours: Path, theirs: Path) -> None:
    a, b = state_of(ours), state_of(theirs)
    history = a.pop("history"), b.pop("history")
    assert_same(a, b)
    lines = [json.loads(line) for line in (ours / "log.jsonl").read_text().splitlines()]
    assert lines == history[0]
    for event, figure in (("train", "loss"), ("evaluation", "miou")):
        first, second = ([(r["iteration"], r[figure]) for r in h if r["event"] == event] for h in history)
        assert first == second
    for name in ("last.safetensors", "best.safetensors"):
        mine, other = (checkpoints.load_model(folder / name).state_dict() for folder in (ours, theirs))
        assert_same(mine, other, name)


def test_a_run_killed_within_an_epoch_goes_on_bit_for_bit(tmp_path: Path, uninterrupted: Path) -> None:
    killed(tmp_path, step=10)
    assert state_of(tmp_path)["iteration"] == 8
    assert '"iteration": 9' in (tmp_path / "log.jsonl").read_text()
    result = train(tiny.fastscnn(**CHANGES), output_dir=tmp_path, resume=True, device="cpu")
    assert [record["iteration"] for record in result.history if record["event"] == "resume"] == [8]
    assert_same_run(tmp_path, uninterrupted)


def run(folder: Path, *, resume: bool = False, **changes: Any) -> TrainingResult:
    return train(tiny.recipe(**changes), output_dir=folder, resume=resume, device="cpu")


def test_a_run_that_stops_between_the_model_and_its_state_goes_on_from_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_the_second_state(source: Path, target: Path) -> None:
        if target.name == STATE and target.exists():
            raise KeyboardInterrupt
        replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop_at_the_second_state)
        run(tmp_path / "stopped")
    stopped = state_of(tmp_path / "stopped")
    weights = checkpoints.load_model(tmp_path / "stopped/last.safetensors").state_dict()
    assert stopped["iteration"] == 4
    assert not torch.equal(weights["head.classifier.weight"], stopped["model"]["head.classifier.weight"])
    (tmp_path / "stopped/.last.state.pt.123.part").write_text("of a process that was killed while it wrote")
    run(tmp_path / "stopped", resume=True)
    run(tmp_path / "whole")
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    assert not list((tmp_path / "stopped").glob(".*"))


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = run(tmp_path, train__iterations=2)
    before = (tmp_path / STATE).read_bytes()
    again = run(tmp_path, resume=True, train__iterations=2)
    assert torch.equal(again.evaluation.confusion, first.evaluation.confusion)
    assert (tmp_path / STATE).read_bytes() == before
    assert again.history == first.history


def test_a_run_can_be_made_longer(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=2)
    longer = run(tmp_path, resume=True, train__iterations=4, data__workers=1, train__log_every=2)
    assert [record["iteration"] for record in longer.history if record["event"] == "train"] == [1, 2, 4]


def test_another_recipe_is_refused_naming_the_keys(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=1)
    with pytest.raises(TrainingError, match=r"optimizer\.lr was 0\.05, is 0\.1; train\.batch_size was 4, is 8"):
        run(tmp_path, resume=True, optimizer__lr=0.1, train__batch_size=8)


def test_other_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, train__iterations=1)
    monkeypatch.setitem(tiny.IMAGES, "train", 25)
    with pytest.raises(TrainingError, match="the training images are not those that the run began with"):
        run(tmp_path, resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path, train__iterations=1)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(TrainingError, match=r"already holds a run .*resume"):
        run(tmp_path, train__iterations=1)
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a checkpoint", None])
def test_a_damaged_state_is_named(tmp_path: Path, damage: bytes | None) -> None:
    run(tmp_path, train__iterations=1)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:-2000] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"last\.state\.pt (is|holds|was)"):
        run(tmp_path, resume=True)


def test_a_state_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    run(tmp_path, train__iterations=1)
    torch.save({"format": 1, "iteration": Attack()}, tmp_path / STATE)
    with pytest.raises(CheckpointError):
        run(tmp_path, resume=True)
    assert not (tmp_path / "owned").exists()
