"""Training in two processes: the same run as in one, and no process that waits for one that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

from vitrail.training import train

PROGRAM = Path(tiny.__file__)
JOINT = {"train__iterations": 6, "train__batch_size": 8, "train__clip_grad_norm": 0.5}
FULL = {"train__iterations": 6, "train__batch_size": 8, "train__save_every": 4, "data__workers": 1}


def torchrun(*jobs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(PROGRAM), json.dumps(jobs)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def job(folder: Path, base: str, changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"folder": str(folder), "base": base, "changes": changes, **more}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes have trained "joint" and "whole"; in "broken" the second one was killed in iteration 6."""
    folder = tmp_path_factory.mktemp("two")
    result = torchrun(
        job(folder / "joint", "recipe", {**JOINT, "train__accumulate": 2}),
        job(folder / "whole", "fastscnn", FULL),
        job(folder / "broken", "fastscnn", FULL, die_at_step=6, rank=1),
    )
    assert result.returncode != 0
    assert (folder / "broken/last.state.pt").exists(), result.stderr
    return folder


def records(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.state.pt", weights_only=True)
    return found


def test_two_processes_train_as_one_does_with_the_joint_batch(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.register(monkeypatch.setitem)
    one = train(tiny.recipe(**JOINT), output_dir=tmp_path, device="cpu")
    assert records(trained / "joint", "start")[0]["processes"] == 2
    ours, theirs = ([record["loss"] for record in records(f, "train")] for f in (trained / "joint", tmp_path))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert len(ours) == 6
    (evaluation,) = records(trained / "joint", "evaluation")
    assert evaluation["images"] == 5
    assert evaluation["miou"] == pytest.approx(one.evaluation.miou, abs=1e-3)


def test_a_run_whose_second_process_was_killed_goes_on_bit_for_bit(trained: Path) -> None:
    """With batch norms, whose statistics differ between processes, with dropout and data workers."""
    assert state(trained / "broken")["iteration"] == 4
    resumed = torchrun(job(trained / "broken", "fastscnn", FULL, resume=True))
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = state(trained / "broken"), state(trained / "whole")
    assert ours["iteration"] == theirs["iteration"] == 6
    for part in ("model", "average"):
        assert all(torch.equal(value, ours[part][name]) for name, value in theirs[part].items())
    figures = [record["miou"] for record in records(trained / "whole", "evaluation")]
    assert figures == [record["miou"] for record in records(trained / "broken", "evaluation")]
