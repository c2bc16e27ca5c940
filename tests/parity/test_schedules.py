"""Learning rates against SSSegmentation's schedulers and MMEngine's, iteration by iteration."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from parity.eomt import their_modules
from parity.missing import require
from parity.references import require_ssseg
from vitrail.optim import create_schedule
from vitrail.recipes import ScheduleConfig, WarmupConfig

pytestmark = pytest.mark.parity

LR = 0.01
EPOCHS, PER_EPOCH = 6, 7
ITERATIONS = EPOCHS * PER_EPOCH
MULTIPLIERS = (1.0, 0.1)


def make_optimizer() -> Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": LR * m, "lr_multiplier": m} for m in MULTIPLIERS]
    return SGD(groups, lr=LR)


def now(optimizer: Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def rates(optimizer: Optimizer, *schedules: Any) -> list[list[float]]:
    """Return the learning rates of all groups in each iteration of a run."""
    found = []
    for _ in range(ITERATIONS):
        found.append(now(optimizer))
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return found


def ours(iterations: int = ITERATIONS, **options: Any) -> list[list[float]]:
    optimizer = make_optimizer()
    schedule = create_schedule(optimizer, ScheduleConfig(**options), iterations)
    return rates(optimizer, schedule)


def ssseg(kind: str, **options: Any) -> list[list[float]]:
    require_ssseg()
    schedulers = importlib.import_module("ssseg.modules.models.schedulers.builder")
    optimizer = make_optimizer()
    scheduler = schedulers.SchedulerBuilder.REGISTERED_MODULES[kind](
        optimizer=optimizer,
        lr=LR,
        max_epochs=EPOCHS,
        iters_per_epoch=PER_EPOCH,
        params_rules={"type": "DefaultParamsConstructor"},
        **options,
    )
    found = []
    for _ in range(ITERATIONS):
        scheduler.updatelr()
        found.append(now(optimizer))
        scheduler.step()
    return found


def mmengine(kind: str, **options: Any) -> list[list[float]]:
    module = require("mmengine.optim", "MMEngine")
    optimizer = make_optimizer()
    scheduler = getattr(module, kind)(optimizer, by_epoch=False, **options)
    return rates(optimizer, scheduler)


def assert_same(left: list[list[float]], right: list[list[float]]) -> None:
    torch.testing.assert_close(
        torch.tensor(left, dtype=torch.float64), torch.tensor(right, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("warmup", [0, 10, ITERATIONS])
@pytest.mark.parametrize(
    ("kind", "name", "theirs"),
    [("PolyScheduler", "poly", {"power": 0.9}), ("CosineScheduler", "cosine", {"by_epoch": False})],
)
def test_ssseg(kind: str, name: str, theirs: dict[str, Any], warmup: int) -> None:
    warmup_cfg = {"type": "linear", "ratio": 1e-6, "iters": warmup} if warmup else None
    reference = ssseg(kind, min_lr=1e-4, warmup_cfg=warmup_cfg, **theirs)
    rise = WarmupConfig(iterations=warmup, ratio=1e-6) if warmup else None
    found = ours(name=name, power=0.9, min_lr=1e-4, warmup=rise)
    assert_same(found, reference)


def test_the_floor_that_ssseg_takes_when_none_is_given() -> None:
    assert_same(ours(name="poly", min_lr=0.01 * LR), ssseg("PolyScheduler"))


def test_mmengine_poly() -> None:
    # MMEngine reaches the end with the last iteration, one iteration before us.
    assert_same(ours(name="poly", power=0.9), mmengine("PolyLR", power=0.9, eta_min=0.0, end=ITERATIONS + 1))


def test_mmengine_poly_after_a_warmup() -> None:
    module = require("mmengine.optim", "MMEngine")
    optimizer = make_optimizer()
    schedulers = [
        module.LinearLR(optimizer, by_epoch=False, start_factor=0.1, end=11),
        module.PolyLR(optimizer, by_epoch=False, power=0.9, eta_min=0.0, begin=10, end=ITERATIONS + 1),
    ]
    warmup = WarmupConfig(iterations=10, ratio=0.1, delay_schedule=True)
    assert_same(ours(name="poly", power=0.9, warmup=warmup), rates(optimizer, *schedulers))


def test_eomt_warms_up_the_head_before_the_encoder() -> None:
    (module,) = their_modules("training.two_stage_warmup_poly_schedule")
    optimizer = make_optimizer()
    reference = module.TwoStageWarmupPolySchedule(
        optimizer, num_backbone_params=1, warmup_steps=(5, 10), total_steps=ITERATIONS, poly_power=0.9
    )
    expected = rates(optimizer, reference)
    optimizer = make_optimizer()
    encoder = WarmupConfig(start=5, iterations=10, ratio=0.0, delay_schedule=True)
    optimizer.param_groups[0]["warmup"] = encoder.model_dump()
    head = WarmupConfig(iterations=5, ratio=0.0, delay_schedule=True)
    schedule = create_schedule(optimizer, ScheduleConfig(name="poly", power=0.9, warmup=head), ITERATIONS)
    assert_same(rates(optimizer, schedule), expected)


def test_mmengine_cosine() -> None:
    assert_same(ours(name="cosine"), mmengine("CosineAnnealingLR", T_max=ITERATIONS, eta_min=0.0, end=ITERATIONS))


def test_mmengine_step() -> None:
    reference = mmengine("MultiStepLR", milestones=[14, 28], gamma=0.1, end=ITERATIONS)
    assert_same(ours(name="step", milestones=(14 / ITERATIONS, 28 / ITERATIONS), gamma=0.1), reference)


def test_mmengine_warmup() -> None:
    # MMEngine's "end" is one past the iteration at which the factor is 1.
    reference = mmengine("LinearLR", start_factor=0.1, end=11)
    assert_same(ours(name="constant", warmup=WarmupConfig(iterations=10, ratio=0.1)), reference)
