"""Losses that wait on the device until they are read, and the plan of when that is."""

from __future__ import annotations

import time

import pytest
import torch

from vitrail.errors import TrainingError
from vitrail.recipes import TrainConfig
from vitrail.training.accumulate import labelled_shares
from vitrail.training.meter import Meter
from vitrail.training.plan import Plan, make_plan


@pytest.fixture
def meter() -> Meter:
    return Meter(torch.device("cpu"), 10, hint=lambda: "nothing was saved")


def add(meter: Meter, *values: float, share: float = 1.0) -> None:
    meter.add(dict(zip(("seg", "aux"), torch.tensor(values), strict=False)), torch.tensor(share))


def test_a_window_holds_means_of_shares(meter: Meter) -> None:
    for seg, aux in ((1.0, 3.0), (2.0, 5.0)):
        add(meter, seg, aux, share=0.25)
        add(meter, seg, aux, share=0.75)
        meter.step()
    window = meter.read(2)
    assert window.losses == {"seg": 1.5, "aux": 4.0}
    assert (window.loss, window.iterations) == (5.5, 2)
    add(meter, 7.0, 0.0)
    meter.step()
    assert meter.read(3).losses == {"seg": 7.0, "aux": 0.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_first_iteration_that_is_not_finite_is_named(meter: Meter, value: float) -> None:
    for iteration in range(1, 8):
        add(meter, 1.0, value if iteration >= 5 else 2.0)
        meter.step()
    for look in (meter.check, meter.read):
        with pytest.raises(TrainingError, match=rf"iteration 105 \(seg=1, aux={value}\); nothing was saved"):
            look(107)


def test_waiting_for_data_is_a_fraction_of_the_time(meter: Meter) -> None:
    meter.restart()
    begin = time.perf_counter()
    with meter.waiting():
        time.sleep(0.02)
    with meter.paused():
        time.sleep(0.05)
    add(meter, 1.0)
    meter.step()
    window = meter.read(1)
    assert 0.02 <= window.seconds * window.data_wait < window.seconds
    assert window.seconds <= time.perf_counter() - begin - 0.05


def test_shares_are_of_the_labelled_pixels() -> None:
    targets = torch.zeros(4, 2, 2, dtype=torch.uint8)
    targets[0] = 255
    targets[1, 0] = 255
    assert labelled_shares(targets, 1).tolist() == [1.0]
    assert labelled_shares(targets, 2).tolist() == pytest.approx([0.2, 0.8])
    assert labelled_shares(torch.full_like(targets, 255), 2).tolist() == [0.0, 0.0]


def test_a_plan_counts_in_iterations() -> None:
    plan = make_plan(TrainConfig(epochs=3, batch_size=4, eval_every=2, log_every=7), images=22)
    assert plan == Plan(iterations=15, per_epoch=5, log_every=7, eval_every=10, save_every=2)
    assert [i for i in range(1, 16) if plan.evaluates(i)] == [10, 15]
    assert [i for i in range(1, 16) if plan.saves(i)] == [2, 4, 6, 8, 10, 12, 14, 15]
    assert [i for i in range(1, 16) if plan.logs(i)] == [7, 14, 15]


def test_parts_must_be_equal_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.training.plan.world_size", lambda: 4)
    with pytest.raises(TrainingError, match=r"batch_size=12 .* multiple of 8 .* = 4 × 2"):
        make_plan(TrainConfig(iterations=1, batch_size=12, accumulate=2), images=100)
