"""The checks of a dataset, in the order in which they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from vitrail.datasets.doctor.checks.classes import binary_masks, ignored_pixels, one_class, unused_classes
from vitrail.datasets.doctor.checks.images import channels_differ, deep_colour, value_ranges
from vitrail.datasets.doctor.checks.mask_files import alpha_channels, colour_tables
from vitrail.datasets.doctor.checks.pairs import repeated_masks, same_images, unusable_pairs
from vitrail.datasets.doctor.checks.run import crop_size, short_epochs, warmup_length
from vitrail.datasets.doctor.checks.turned import turned_images
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.plan import RunPlan
from vitrail.datasets.doctor.survey import SplitSurvey

SplitCheck: TypeAlias = Callable[[SplitSurvey], Iterator[Finding]]
RunCheck: TypeAlias = Callable[[list[SplitSurvey], RunPlan], Iterator[Finding]]

SPLIT_CHECKS: tuple[SplitCheck, ...] = (
    unusable_pairs,
    one_class,
    binary_masks,
    unused_classes,
    ignored_pixels,
    alpha_channels,
    colour_tables,
    repeated_masks,
    turned_images,
    value_ranges,
    deep_colour,
    channels_differ,
)
"""Checks of one split."""

PAIR_CHECKS = (same_images,)
"""Checks of a training split and a validation split, in this order."""

RUN_CHECKS: tuple[RunCheck, ...] = (crop_size, short_epochs, warmup_length)
"""Checks of the splits, training first, against the run that they are for."""

__all__ = ["PAIR_CHECKS", "RUN_CHECKS", "SPLIT_CHECKS", "RunCheck", "SplitCheck"]
