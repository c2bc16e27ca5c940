"""The learning rate over a run, as a function of the iteration alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from vitrail.errors import TrainingError, nearest

Shape = Callable[[float], float]


def poly(power: float, floor: float) -> Shape:
    """Return `t -> floor + (1 - floor) * (1 - t)^power`, where `t` is the fraction of the run that is over."""
    return lambda t: (1 - t) ** power * (1 - floor) + floor


def cosine(floor: float) -> Shape:
    """Return half a cosine wave from 1 down to `floor`."""
    return lambda t: floor + 0.5 * (1 - floor) * (1 + math.cos(math.pi * t))


def step(milestones: Sequence[float], gamma: float, floor: float) -> Shape:
    """Return a factor `gamma` for each milestone (a fraction of the run) that is over, never below `floor`."""
    # The tolerance forgives the rounding of, say, 0.7 * 10 iterations.
    return lambda t: max(gamma ** sum(t >= milestone - 1e-9 for milestone in milestones), floor)


def constant() -> Shape:
    """Return 1 throughout."""
    return lambda t: 1.0


def with_warmup(shape: Shape, iterations: int, warmup_iterations: int, ratio: float) -> Callable[[int], float]:
    """Return the factor by iteration: the shape, times a linear rise from `ratio` to 1 over the first iterations."""

    def factor(iteration: int) -> float:
        value = shape(min(iteration / iterations, 1.0))
        if iteration >= warmup_iterations:
            return value
        return value * (1 - (1 - iteration / warmup_iterations) * (1 - ratio))

    return factor


def create_schedule(
    optimizer: Optimizer,
    *,
    name: str,
    iterations: int,
    power: float = 0.9,
    min_lr: float = 0.0,
    milestones: Sequence[float] = (),
    gamma: float = 0.1,
    warmup_iterations: int = 0,
    warmup_ratio: float = 1e-6,
) -> LRScheduler:
    """Build the schedule of an optimizer's learning rates; call its `step()` once after each optimizer step.

    Parameters
    ----------
    optimizer : Optimizer
        Every group's learning rate is multiplied by the same factor, so multipliers of groups hold throughout.
    name : {"poly", "cosine", "step", "constant"}
        The shape. The rate is updated every iteration.
    iterations : int
        Length of the run.
    power : float
        poly: exponent of the remaining fraction of the run.
    min_lr : float
        The rate at the end (poly, cosine) or the lowest (step), for a group whose rate is the optimizer's own; it
        scales with the multipliers of the others.
    milestones : sequence of float
        step: fractions of the run after which the rate drops.
    gamma : float
        step: factor of each drop.
    warmup_iterations, warmup_ratio : int, float
        Over the first iterations the schedule is multiplied by a factor that rises linearly from `warmup_ratio` to 1.
        0 iterations: no warm-up.

    Raises
    ------
    TrainingError
        For an unknown name, or a run without iterations.

    Notes
    -----
    The function is SSSegmentation's, whose `CosineScheduler` stays constant within an epoch unless told otherwise.
    MMSegmentation's differs at the ends: its schedule starts after the warm-up instead of running below it, reaches
    `min_lr` one iteration earlier, and takes `eta_min` as it is for every group.
    """
    if iterations < 1:
        raise TrainingError(f"a schedule needs at least one iteration, not {iterations}")
    floor = min_lr / optimizer.defaults["lr"]
    shapes: dict[str, Shape] = {
        "poly": poly(power, floor),
        "cosine": cosine(floor),
        "step": step(milestones, gamma, floor),
        "constant": constant(),
    }
    if name not in shapes:
        raise TrainingError(f"unknown schedule {name!r}.{nearest(name, shapes)}")
    return LambdaLR(optimizer, with_warmup(shapes[name], iterations, warmup_iterations, warmup_ratio))
