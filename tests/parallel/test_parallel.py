"""Processes that share work: alone everything is a no-op, under torchrun results are the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitrail import parallel
from vitrail.errors import TrainingError

WORKER = """
import sys
from pathlib import Path

import torch
from vitrail import parallel
from vitrail.errors import TrainingError

with parallel.process_group("cpu"):
    with parallel.process_group("cpu"):  # inside a group: nothing happens
        assert parallel.world_size() == 2
    me = parallel.rank()
    assert parallel.is_main() == (me == 0) and parallel.local_rank() == me
    total = torch.tensor([1.0 + me, 10.0])
    assert parallel.sum_across(total) is total and total.tolist() == [3.0, 20.0]
    assert parallel.gather_objects({"rank": me}) == [{"rank": 0}, {"rank": 1}]
    assert parallel.on_main(lambda: f"from {parallel.rank()}") == "from 0"

    def fail():
        raise TrainingError("the disk is full")

    try:
        parallel.on_main(fail)
    except TrainingError as error:
        assert str(error) == "the disk is full"
    else:
        raise SystemExit("no error")

    norm = torch.nn.BatchNorm2d(2)
    norm.running_mean.fill_(me)
    parallel.broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [0.0, 0.0]

    torch.manual_seed(me)
    wrapped = parallel.wrap_ddp(torch.nn.Linear(3, 1), torch.device("cpu"))
    wrapped(torch.full((1, 3), 1.0 + me)).sum().backward()
    assert wrapped.module.weight.grad.tolist() == [[1.5, 1.5, 1.5]]
    weights = parallel.gather_objects(wrapped.module.weight.tolist())
    assert weights[0] == weights[1]
    parallel.barrier()
assert parallel.world_size() == 1

for _ in range(5):  # a later group must not meet the addresses of an earlier one
    with parallel.process_group("cpu"):
        assert parallel.sum_across(torch.ones(1)).item() == 2
Path(sys.argv[1], str(me)).touch()  # processes that print would write into each other's lines
"""

FAILING = """
import torch
from vitrail import parallel
from vitrail.errors import DatasetError

with parallel.process_group("cpu"):
    if parallel.rank() == 1:
        raise DatasetError("a broken image")
    parallel.sum_across(torch.ones(1))
"""


def torchrun(script: Path, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_alone_everything_is_a_no_op() -> None:
    with parallel.process_group("cpu"), parallel.main_first():
        assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (0, 1, True)
        assert parallel.local_rank() is None
        assert parallel.sum_across(torch.tensor(2.0)).item() == 2.0
        assert parallel.gather_objects("a") == ["a"]
        assert parallel.on_main(lambda: 3) == 3
        parallel.barrier()
    model = torch.nn.Linear(2, 2)
    assert parallel.wrap_ddp(model, torch.device("cpu")) is model
    assert parallel.synchronise_norms(model, torch.device("cpu")) is model


def test_on_main_raises_what_the_work_raises() -> None:
    def fail() -> None:
        raise TrainingError("the disk is full")

    with pytest.raises(TrainingError, match="the disk is full"):
        parallel.on_main(fail)


def test_two_processes_share_results(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    finished = tmp_path / "finished"
    finished.mkdir()
    result = torchrun(script, str(finished), timeout=600)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in finished.iterdir()) == ["0", "1"]


def test_an_error_in_one_process_stops_the_other(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    result = torchrun(script, timeout=600)
    assert result.returncode != 0
    assert "a broken image" in result.stderr
