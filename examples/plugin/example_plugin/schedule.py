"""A learning-rate schedule: constant, then a straight line down."""

from __future__ import annotations

from collections.abc import Callable

from vitrail import register_schedule
from vitrail.recipes import ScheduleConfig


@register_schedule("example_late_decay")
def late_decay(config: ScheduleConfig, floor: float, *, start: float = 0.5) -> Callable[[float], float]:
    """Constant until the fraction `start` of the run, then linear to the floor."""
    return lambda t: 1.0 if t <= start else 1.0 - (1.0 - floor) * (t - start) / (1.0 - start)
