"""Checks of how masks are stored: alpha channels that hold the labels, colour tables that differ."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.datasets.doctor.checks.pairs import most_common
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.survey import SplitSurvey
from vitrail.datasets.mask_files import IndexMasks


def alpha_channels(survey: SplitSurvey) -> Iterator[Finding]:
    """Stop at masks whose alpha channel varies while the rest is of one class."""
    alpha = [facts for facts in survey.usable if facts.alpha_values > 1]
    plain = [facts for facts in alpha if sum(count > 0 for count in facts.counts) <= 1]
    if plain and len(plain) == len(survey.usable):
        yield Finding(
            "stop",
            "alpha channel",
            "the masks are of one class throughout, and what differs is their alpha channel",
            tuple(facts.mask for facts in plain),
            "alpha channels are not read, so the model would learn that one class",
            "Write the alpha channel as the mask: vitrail dataset check … --fix OUT.",
        )
    elif alpha:
        yield Finding(
            "warning",
            "alpha channel",
            f"{len(alpha)} masks have an alpha channel of several values, which is not read",
            tuple(facts.mask for facts in alpha),
            "if it marks what is labelled, pixels without a label are taken for a class",
            "Save the masks without an alpha channel, with 255 or an ignored colour where nothing is labelled.",
        )


def colour_tables(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn of palette PNGs that are read by value although their colour tables differ."""
    indexed = [facts for facts in survey.usable if facts.table_digest]
    tables = most_common(facts.table_digest for facts in indexed)
    if len(tables) < 2 or not isinstance(getattr(survey.source, "read_mask", None), IndexMasks):
        return
    usual = tables[0][0]
    yield Finding(
        "warning",
        "colour tables",
        f"the masks are palette images with {len(tables)} different colour tables, and are read by value",
        tuple(facts.mask for facts in indexed if facts.table_digest != usual),
        "where each file numbers its colours anew, a value stands for another class in every file",
        "If the colours are the classes, list them as 'palette' in classes.yaml, and set data.options.coloured=true.",
    )
