"""Learning-rate schedules: the rate as a function of the iteration alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from vitrail.errors import TrainingError
from vitrail.recipes import ScheduleConfig, WarmupConfig
from vitrail.registry import Registry, check_arguments

Shape = Callable[[float], float]
ShapeBuilder = Callable[..., Shape]
Builder = TypeVar("Builder", bound=ShapeBuilder)
SCHEDULES: Registry[ShapeBuilder] = Registry("schedule", TrainingError, "vitrail.optim")


def register_schedule(name: str) -> Callable[[Builder], Builder]:
    """Register a builder `(config, floor, *, …) -> shape` under `name`.

    A shape is a function `t -> factor`: from the fraction of the run that is over, 0…1, to the factor on every
    learning rate. `config` is the recipe's `ScheduleConfig`, `floor` its `min_lr` as such a factor, and the builder's
    keyword-only parameters are what `schedule.options` of a recipe can set.
    """
    return SCHEDULES.register(name)


def list_schedules() -> list[str]:
    """Return the names of the schedules."""
    return list(SCHEDULES)


@register_schedule("poly")
def poly(config: ScheduleConfig, floor: float) -> Shape:
    """Return `t -> floor + (1 - floor) * (1 - t)^power`."""
    power = config.power
    return lambda t: (1 - t) ** power * (1 - floor) + floor


@register_schedule("cosine")
def cosine(config: ScheduleConfig, floor: float) -> Shape:
    """Return half a cosine wave from 1 down to `floor`."""
    return lambda t: floor + 0.5 * (1 - floor) * (1 + math.cos(math.pi * t))


@register_schedule("step")
def step(config: ScheduleConfig, floor: float) -> Shape:
    """Return a factor `gamma` for each milestone (a fraction of the run) that is over, never below `floor`."""
    milestones, gamma = config.milestones, config.gamma
    # The tolerance forgives the rounding of, say, 0.7 * 10 iterations.
    return lambda t: max(gamma ** sum(t >= milestone - 1e-9 for milestone in milestones), floor)


@register_schedule("constant")
def constant(config: ScheduleConfig, floor: float) -> Shape:
    """Return 1 throughout."""
    return lambda t: 1.0


def with_warmup(shape: Shape, iterations: int, warmup: WarmupConfig | None) -> Callable[[int], float]:
    """Return the factor by iteration: the shape over a run of `iterations`, times the factor of the warm-up."""
    if warmup is None:
        return lambda iteration: shape(min(iteration / iterations, 1.0))
    first = min(warmup.end, iterations - 1) if warmup.delay_schedule else 0

    def factor(iteration: int) -> float:
        if iteration < warmup.start:
            return 0.0
        value = shape(min(max(iteration - first, 0) / (iterations - first), 1.0))
        if iteration >= warmup.end:
            return value
        return value * (1 - (1 - (iteration - warmup.start) / warmup.iterations) * (1 - warmup.ratio))

    return factor


def create_schedule(optimizer: Optimizer, config: ScheduleConfig, iterations: int) -> LRScheduler:
    """Build the schedule of an optimizer's learning rates; call its `step()` once after each optimizer step.

    Parameters
    ----------
    optimizer : Optimizer
        Learning rates of groups are multiplied by the same factor, so that their multipliers hold throughout, but for
        groups with a warm-up of their own, see `parameter_groups`. `min_lr` is that of a group whose rate is the
        optimizer's own, and scales with the multipliers of the others.
    config : ScheduleConfig
        The schedule section of a recipe, see `ScheduleConfig` and `WarmupConfig`.
    iterations : int
        Length of the run.

    Raises
    ------
    TrainingError
        For an unknown name or option, or a run without iterations.

    Notes
    -----
    The function is SSSegmentation's, whose `CosineScheduler` stays constant within an epoch unless told otherwise.
    MMSegmentation's schedule starts after the warm-up (`delay_schedule`), reaches `min_lr` one iteration earlier, and
    takes `eta_min` as it is for every group.
    """
    if iterations < 1:
        raise TrainingError(f"a schedule needs at least one iteration, not {iterations}")
    builder = SCHEDULES[config.name]
    check_arguments(builder, config.options, f"schedule {config.name!r}", TrainingError)
    shape = builder(config, config.min_lr / optimizer.defaults["lr"], **config.options)
    warmups = [
        WarmupConfig(**own) if (own := group.get("warmup")) else config.warmup for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, [with_warmup(shape, iterations, warmup) for warmup in warmups])
