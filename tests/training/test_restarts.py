"""Runs of several processes whose processes, or whose torchrun, die."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_training as tiny

PROGRAM = Path(tiny.__file__)


def torchrun(job: dict[str, Any], *options: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*launcher, str(PROGRAM), json.dumps([job])], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.nightly
@pytest.mark.parametrize("restarts", [4, 20])
def test_a_run_goes_on_after_each_restart(tmp_path: Path, restarts: int) -> None:
    changes = {"train__iterations": 2 * restarts + 4, "train__save_every": 2, "train__eval_every": 100}
    job = {"folder": str(tmp_path), "base": "recipe", "changes": changes, "resume": "auto", "die_at_step": 3}
    with torchrun({**job, "attempts": restarts}, f"--max-restarts={restarts}", "--monitor-interval=0.1") as process:
        _, said = process.communicate(timeout=1800)
    assert process.returncode == 0, said
    state = torch.load(tmp_path / "last.state.pt", weights_only=True)
    resumed = [record["iteration"] for record in state["history"] if record["event"] == "resume"]
    assert resumed == [2 * attempt for attempt in range(1, restarts + 1)], said
    assert state["iteration"] == changes["train__iterations"]


@pytest.mark.nightly
def test_a_run_with_a_stopped_process_ends_in_time_with_one_message(tmp_path: Path) -> None:
    """The process that waits gives up after the timeout; torchrun then ends the stopped one."""
    changes = {"train__iterations": 100, "train__save_every": 2, "train__eval_every": 100}
    job = {"folder": str(tmp_path), "base": "recipe", "changes": changes, "die_at_step": 5, "rank": 1}
    begin = time.monotonic()
    with torchrun({**job, "signal": "SIGSTOP", "timeout": 20}, "--monitor-interval=0.1") as process:
        _, said = process.communicate(timeout=400)
    assert process.returncode != 0 and time.monotonic() - begin < 300
    assert said.count("VitrailError: another process of this run has died, or has not answered for") == 1, said
    assert torch.load(tmp_path / "last.state.pt", weights_only=True)["iteration"] == 4


@pytest.mark.nightly
def test_processes_end_with_their_torchrun_and_save_first(tmp_path: Path) -> None:
    """The first to notice ends the run of both."""
    changes = {"train__iterations": 10**6, "train__save_every": 10**5, "train__eval_every": 10**6}
    job = {"folder": str(tmp_path), "base": "recipe", "changes": changes}
    with torchrun(job) as process:
        log = tmp_path / "train.log"
        deadline = time.monotonic() + 120
        while not (log.exists() and "iteration 5/" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=30)  # waits until all of them have let go of stderr
    assert re.search(r"torchrun \(process \d+\) has ended.*--resume", said)
    assert torch.load(tmp_path / "last.state.pt", weights_only=True)["iteration"] >= 5
