"""Checks of the data against the run that they are for: crop, epochs, warm-up."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.plan import RunPlan
from vitrail.datasets.doctor.survey import SplitSurvey

_FEW_ITERATIONS = 20


def crop_size(surveys: list[SplitSurvey], plan: RunPlan) -> Iterator[Finding]:
    """Warn of a crop that is larger than every image."""
    sizes = [facts.size for facts in surveys[0].usable] if surveys else []
    if plan.crop is None or plan.resized or not sizes:
        return
    largest = [max(size[axis] for size in sizes) * plan.largest_scale for axis in (0, 1)]
    if plan.crop[0] > largest[0] and plan.crop[1] > largest[1]:
        share = 1 - largest[0] * largest[1] / (plan.crop[0] * plan.crop[1])
        height, width = (int(side) // 32 * 32 or 32 for side in largest)
        yield Finding(
            "warning",
            "crop",
            f"the crop of {plan.crop[0]} × {plan.crop[1]} is larger than every image, at most "
            f"{max(size[0] for size in sizes)} × {max(size[1] for size in sizes)}",
            effect=f"at least {share:.0%} of every training image is padding",
            fix=f"Set data.augment.crop=[{height},{width}].",
        )


def short_epochs(surveys: list[SplitSurvey], plan: RunPlan) -> Iterator[Finding]:
    """Warn of a run of few iterations in epochs of one."""
    if plan.per_epoch == 1 and plan.iterations < _FEW_ITERATIONS:
        yield Finding(
            "warning",
            "iterations",
            f"an epoch is one iteration of {plan.batch_size} images, and the whole run has {plan.iterations}",
            effect="so few steps of the optimizer hardly change the model",
            fix="Lower train.batch_size, or raise train.epochs.",
        )


def warmup_length(surveys: list[SplitSurvey], plan: RunPlan) -> Iterator[Finding]:
    """Warn of warm-ups that are as long as the run."""
    for key, (start, end) in plan.warmups.items():
        if end >= plan.iterations:
            shorter = f"{key}.iterations={max(1, plan.iterations // 20)}"
            yield Finding(
                "warning",
                "warm-up",
                f"{key} ends at iteration {end}, and the run has {plan.iterations}",
                effect="the learning rate never gets to what the optimizer section says",
                fix=f"Set {shorter} and {key}.start=0." if start else f"Set {shorter}.",
            )
