"""Schedules: their shapes, their ends, warm-up, and taking up again where a run stopped."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn

from vitrail.errors import TrainingError
from vitrail.optim import SCHEDULES, create_schedule, register_schedule
from vitrail.optim.schedules import Shape
from vitrail.recipes import ScheduleConfig, WarmupConfig

LR = 0.2


def optimizer(*multipliers: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": LR * m} for m in multipliers or (1.0,)]
    return torch.optim.SGD(groups, lr=LR)


def rates(
    iterations: int, *, group: int = 0, multipliers: tuple[float, ...] = (1.0,), **options: object
) -> list[float]:
    """The learning rate of each iteration, and the one after the last."""
    optim = optimizer(*multipliers)
    schedule = create_schedule(optim, ScheduleConfig(**options), iterations)  # type: ignore[arg-type]
    found = []
    for _ in range(iterations + 1):
        found.append(optim.param_groups[group]["lr"])
        optim.step()
        schedule.step()
    return found


def test_poly() -> None:
    found = rates(10, name="poly", power=0.9, min_lr=0.02)
    assert found[0] == LR
    assert found[5] == pytest.approx(0.5**0.9 * (LR - 0.02) + 0.02)
    assert found[10] == pytest.approx(0.02)


def test_cosine() -> None:
    found = rates(8, name="cosine", min_lr=0.04)
    assert found == pytest.approx([0.04 + (LR - 0.04) * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(9)])


def test_step() -> None:
    found = rates(10, name="step", milestones=(0.3, 0.7), gamma=0.5)
    assert found == pytest.approx([LR] * 3 + [LR / 2] * 4 + [LR / 4] * 4)
    assert rates(10, name="step", milestones=(0.3, 0.7), gamma=0.1, min_lr=0.01)[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("iterations", [7, 10, 30, 90, 997])
def test_a_drop_comes_at_its_milestone_whatever_the_rounding(iterations: int) -> None:
    for tenth in range(1, 10):
        found = rates(iterations, name="step", milestones=(tenth / 10,), gamma=0.5)
        assert found.index(LR / 2) == math.ceil(iterations * tenth / 10 - 1e-6)


def test_constant() -> None:
    assert rates(4, name="constant", min_lr=0.1) == [LR] * 5


def test_warmup_multiplies_the_schedule() -> None:
    plain = rates(20, name="poly")
    warm = rates(20, name="poly", warmup=WarmupConfig(iterations=4, ratio=0.2))
    assert warm[:5] == pytest.approx([p * f for p, f in zip(plain, (0.2, 0.4, 0.6, 0.8, 1.0), strict=False)])
    assert warm[4:] == plain[4:]


def test_a_schedule_may_begin_after_the_warmup() -> None:
    warm = rates(20, name="poly", warmup=WarmupConfig(iterations=4, ratio=0.2, delay_schedule=True))
    assert warm[:4] == pytest.approx([LR * factor for factor in (0.2, 0.4, 0.6, 0.8)])
    assert warm[4:] == pytest.approx(rates(16, name="poly"))


@pytest.mark.parametrize("iterations", [3, 4, 5])
def test_a_warmup_that_outlasts_the_run_leaves_no_room_for_the_schedule(iterations: int) -> None:
    warm = rates(iterations, name="poly", warmup=WarmupConfig(iterations=4, ratio=0.2, delay_schedule=True))
    assert warm[:iterations][:4] == pytest.approx([LR * factor for factor in (0.2, 0.4, 0.6, 0.8)][:iterations])


def test_a_group_may_have_a_warmup_of_its_own() -> None:
    own = WarmupConfig(iterations=3, ratio=0.0, start=2)
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))]}]
    optim = torch.optim.SGD([groups[0], {**groups[1], "warmup": own.model_dump()}], lr=LR)
    schedule = create_schedule(optim, ScheduleConfig(name="constant", warmup=WarmupConfig(iterations=2, ratio=0.5)), 6)
    found = []
    for _ in range(6):
        found.append([group["lr"] for group in optim.param_groups])
        optim.step()
        schedule.step()
    expected = [(0.5, 0.0), (0.75, 0.0), (1.0, 0.0), (1.0, 1 / 3), (1.0, 2 / 3), (1.0, 1.0)]
    torch.testing.assert_close(torch.tensor(found), LR * torch.tensor(expected))


def test_multipliers_of_groups_hold_throughout() -> None:
    options = {"name": "poly", "min_lr": 0.02, "warmup": WarmupConfig(iterations=3, ratio=0.1)}
    base = rates(10, multipliers=(1.0, 0.1, 0.0), group=0, **options)
    assert rates(10, multipliers=(1.0, 0.1, 0.0), group=1, **options) == pytest.approx([0.1 * lr for lr in base])
    assert rates(10, multipliers=(1.0, 0.1, 0.0), group=2, **options) == [0.0] * 11


def test_steps_beyond_the_end_stay_at_the_end() -> None:
    optim = optimizer()
    schedule = create_schedule(optim, ScheduleConfig(name="poly", min_lr=0.02), 3)
    for _ in range(6):
        optim.step()
        schedule.step()
    assert optim.param_groups[0]["lr"] == pytest.approx(0.02)


def test_a_run_that_goes_on_has_the_same_rates() -> None:
    config = ScheduleConfig(name="cosine", warmup=WarmupConfig(iterations=5, ratio=0.1))
    expected = rates(12, name="cosine", warmup=config.warmup)
    first = optimizer(1.0)
    schedule = create_schedule(first, config, 12)
    for _ in range(4):
        first.step()
        schedule.step()
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = optimizer(1.0)
    schedule = create_schedule(second, config, 12)
    second.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    found = []
    for _ in range(4, 13):
        found.append(second.param_groups[0]["lr"])
        second.step()
        schedule.step()
    assert found == expected[4:]


def test_mistakes() -> None:
    with pytest.raises(TrainingError, match=r"unknown schedule 'cosin'. Did you mean 'cosine'"):
        create_schedule(optimizer(), ScheduleConfig(name="cosin"), 3)
    with pytest.raises(TrainingError, match="at least one iteration"):
        create_schedule(optimizer(), ScheduleConfig(), 0)
    with pytest.raises(TrainingError, match=r"schedule 'poly' takes no argument 'cycles'"):
        create_schedule(optimizer(), ScheduleConfig(options={"cycles": 2}), 3)


def test_a_schedule_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCHEDULES, "_entries", dict(SCHEDULES._entries))

    @register_schedule("saw")
    def saw(config: ScheduleConfig, floor: float, *, teeth: int = 1) -> Shape:
        return lambda t: max(1 - t * teeth % 1, floor)

    assert rates(4, name="saw", options={"teeth": 2}, min_lr=0.1) == pytest.approx([LR, LR / 2] * 2 + [LR])
    with pytest.raises(TrainingError, match=r"schedule 'saw': teeth must be int, not 'two'"):
        rates(4, name="saw", options={"teeth": "two"})
