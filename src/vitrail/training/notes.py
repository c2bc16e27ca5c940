"""Notes: what a run says at its start about settings that do something other than one may expect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from vitrail.recipes import Recipe
from vitrail.training.meter import Window
from vitrail.training.plan import Plan
from vitrail.training.records import Record


def start_notes(recipe: Recipe, history: Sequence[Record]) -> Iterator[str]:
    """Yield what the log should say about the settings of a run, in whole sentences.

    Parameters
    ----------
    recipe : Recipe
        Of the run.
    history : sequence of dict
        The records before this start; empty unless the run is resumed.
    """
    started = _first(history, "started_from")
    if history and recipe.train.start_from is not None and started != recipe.train.start_from:
        yield (
            f"the run is resumed, so that train.start_from={recipe.train.start_from} is not used: it was started from "
            f"{started or 'its own weights'}. To start from another model, take another output folder"
        )


def _first(history: Sequence[Record], key: str) -> str | None:
    """Return the value of `train.start_from` at the start of the run."""
    for record in history:
        if record.get("recipe"):
            value = record["recipe"]["train"].get("start_from")
            return None if value is None else str(value)
    return None


def nothing_learned(window: Window) -> str | None:
    """Return what to warn of when the loss of every iteration of a window was 0; None otherwise."""
    if any(loss for loss in window.losses.values()):
        return None
    return (
        f"the loss was exactly 0 in each of the last {window.iterations} iterations, so that nothing is learned: "
        "either all pixels of the masks are ignored, or the classes that they have weigh 0 (class_weights, the weights "
        "of the losses)"
    )


def stretch(schedule: LRScheduler, optimizer: Optimizer, plan: Plan, history: Sequence[Record]) -> str | None:
    """Put the learning rate of a resumed run where the schedule of a run of its new length has it.

    Returns
    -------
    str or None
        What the log should say; None when the length is what it was.
    """
    before = next((record["iterations"] for record in reversed(history) if "iterations" in record), plan.iterations)
    if before == plan.iterations or not isinstance(schedule, LambdaLR):
        return None
    was = max(group["lr"] for group in optimizer.param_groups)
    place = schedule.last_epoch
    rates = [rate * factor(place) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    schedule._last_lr = list(rates)
    return (
        f"the run is now {plan.iterations} iterations long instead of {before}: from here on the learning rate is that "
        f"of a schedule of the new length, {max(rates):.2e} where it was {was:.2e}"
    )
