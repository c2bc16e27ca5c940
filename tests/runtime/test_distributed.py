"""Processes that share work: alone everything is a no-op, under torchrun results are the same everywhere."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from helpers.processes import execute, in_two_processes
from torch import distributed as dist
from torch.multiprocessing import ProcessRaisedException

from vitrail.errors import TrainingError
from vitrail.runtime import distributed
from vitrail.runtime.distributed import group

WORKER = """
import sys
from pathlib import Path

import torch
from vitrail.runtime import distributed
from vitrail.errors import TrainingError

with distributed.process_group("cpu"):
    with distributed.process_group("cpu"):  # inside a group: nothing happens
        assert distributed.world_size() == 2
    me = distributed.rank()
    assert distributed.is_main() == (me == 0) and distributed.local_rank() == me
    part = torch.tensor([1.0 + me, 10.0])
    assert distributed.sum_over_processes(part).tolist() == [3.0, 20.0] and part.tolist() == [1.0 + me, 10.0]
    assert distributed.mean_over_processes(part).tolist() == [1.5, 10.0]
    assert distributed.gather_objects({"rank": me}) == [{"rank": 0}, {"rank": 1}]
    assert distributed.on_main(lambda: f"from {distributed.rank()}") == "from 0"

    def fail():
        raise TrainingError("the disk is full")

    try:
        distributed.on_main(fail)
    except TrainingError as error:
        assert str(error) == "the disk is full"
    else:
        raise SystemExit("no error")

    norm = torch.nn.BatchNorm2d(2)
    norm.running_mean.fill_(me)
    distributed.broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [0.0, 0.0]

    cpu = torch.device("cpu")
    strategy = distributed.create_strategy("auto", cpu, {})
    assert type(strategy) is distributed.DataParallel
    torch.manual_seed(me)
    model = strategy.synchronise_norms(torch.nn.Linear(3, 1))
    network = strategy.wrap(model)
    weights = distributed.gather_objects(model.weight.tolist())
    assert weights[0] == weights[1]
    with strategy.accumulate(network):
        (network(torch.full((1, 3), 1.0 + me)).sum() * strategy.loss_scale).backward()
    assert model.weight.grad.tolist() == [[2.0 + 2 * me] * 3]  # not reduced yet
    (network(torch.full((1, 3), 1.0 + me)).sum() * strategy.loss_scale).backward()
    assert model.weight.grad.tolist() == [[6.0] * 3]  # the sum of 1 + 2, twice
    norm = strategy.clip_grad_norm(model, 1.0)
    assert abs(norm.item() - (3 * 36 + 16) ** 0.5) < 1e-4 and model.weight.grad.norm() < 1
    norm = torch.nn.BatchNorm2d(2)
    norm.running_mean.fill_(me)
    assert strategy.evaluation_model(norm) is norm and norm.running_mean.tolist() == [0.0, 0.0]
    try:
        distributed.create_strategy("single", cpu, {})
    except TrainingError as error:
        assert "torchrun started 2" in str(error)
    else:
        raise SystemExit("no error")
    distributed.barrier()
assert distributed.world_size() == 1

for _ in range(5):  # a later group must not meet the addresses of an earlier one
    with distributed.process_group("cpu"):
        assert distributed.sum_over_processes(torch.ones(1)).item() == 2
Path(sys.argv[1], str(me)).touch()  # processes that print would write into each other's lines
"""

FAILING = """
import torch
from vitrail.runtime import distributed
from vitrail.errors import DatasetError

with distributed.process_group("cpu"):
    if distributed.rank() == 1:
        raise DatasetError("a broken image")
    distributed.sum_over_processes(torch.ones(1))
"""


def test_alone_everything_is_a_no_op() -> None:
    with distributed.process_group("cpu"), distributed.main_first():
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        assert distributed.local_rank() is None
        assert distributed.sum_over_processes(torch.tensor(2.0)).item() == 2.0
        assert distributed.gather_objects("a") == ["a"]
        assert distributed.on_main(lambda: 3) == 3
        distributed.barrier()
    model = torch.nn.Linear(2, 2)
    strategy = distributed.create_strategy("auto", torch.device("cpu"), {})
    assert type(strategy) is distributed.SingleDevice and strategy.loss_scale == 1
    assert strategy.wrap(model) is strategy.synchronise_norms(model) is strategy.evaluation_model(model) is model


def test_mistakes_in_the_strategy_are_named() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(TrainingError, match=r"unknown strategy 'dpp'. Did you mean 'ddp'"):
        distributed.create_strategy("dpp", cpu, {})
    with pytest.raises(TrainingError, match=r"train.strategy=ddp needs several processes: .*torchrun"):
        distributed.create_strategy("ddp", cpu, {})
    with pytest.raises(TrainingError, match=r"strategy 'ddp' takes no argument 'unused'.*find_unused_parameters"):
        distributed.create_strategy("ddp", cpu, {"unused": True})


def test_a_strategy_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.STRATEGIES, "_entries", dict(distributed.STRATEGIES._entries))

    @distributed.register_strategy("scaled")
    class Scaled(distributed.Strategy):
        def __init__(self, device: torch.device, *, factor: float = 1.0) -> None:
            super().__init__(device)
            self.factor = factor

    strategy = distributed.create_strategy("scaled", torch.device("cpu"), {"factor": 2.0})
    assert isinstance(strategy, Scaled) and strategy.factor == 2.0


def test_an_attempt_of_torchrun_does_not_read_what_the_one_before_has_left_in_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torchrun has one store for all attempts, with the addresses of processes that have been killed."""
    store, given = dist.HashStore(), []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(group, "_rendezvous", lambda: (store, 0, 2))
    monkeypatch.setattr(group, "_leave", lambda: None)
    monkeypatch.setattr(dist, "init_process_group", lambda *args, store, **options: given.append(store))
    for attempt in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        monkeypatch.setattr(group, "_GROUPS", itertools.count())  # a new process
        with group.process_group("cpu"):
            pass
    given[0].set("address", "127.0.0.1:1")
    assert not given[1].check(["address"])
    assert given[0].check(["address"])


def test_on_main_raises_what_the_work_raises() -> None:
    def fail() -> None:
        raise TrainingError("the disk is full")

    with pytest.raises(TrainingError, match="the disk is full"):
        distributed.on_main(fail)


def test_two_processes_share_results(tmp_path: Path) -> None:
    in_two_processes(execute, WORKER, str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_an_error_in_one_process_stops_the_other() -> None:
    with pytest.raises(ProcessRaisedException, match="a broken image"):
        in_two_processes(execute, FAILING)
