"""Checks of images of more than 8 bits, and of the number of channels."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.datasets.doctor.checks.pairs import most_common
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.survey import SplitSurvey

_BIT_DEPTHS = (8, 10, 12, 14, 16)


def value_ranges(survey: SplitSurvey) -> Iterator[Finding]:
    """Say which range the values of deep images fill; stop when images would be read in different ranges."""
    deep = [facts for facts in survey.usable if facts.high > facts.low]
    if not deep:
        return
    low, high = min(facts.low for facts in deep), max(facts.high for facts in deep)
    given = survey.source.pixels.value_range
    if given is not None:
        if low < given[0] - 0.1 * (given[1] - given[0]) or high > given[1] + 0.1 * (given[1] - given[0]):
            yield Finding(
                "warning",
                "value range",
                f"the images hold values from {low:g} to {high:g}, beyond data.value_range={list(given)}",
                effect="what lies beyond becomes plain black or plain white",
                fix=f"Measured over all images: data.value_range=[{low:g},{high:g}].",
            )
        return
    whole = all(facts.image_mode.startswith(("I", "int", "uint")) for facts in deep)
    depths = {_bits(facts.high) for facts in deep} if whole else set()
    top = (1 << max(depths)) - 1 if depths else high
    bottom = 0 if whole else low
    fix = f"Say which values are black and white, for all images alike: data.value_range=[{bottom:g},{top:g}]."
    if len(depths) > 1:
        yield Finding(
            "stop",
            "value range",
            f"the largest values of the images of the split {survey.split!r} lie between "
            f"{min(facts.high for facts in deep):g} and {high:g}, so that some are read as {min(depths)} bits and "
            f"others as {max(depths)}",
            tuple(facts.image for facts in deep),
            "images of equal brightness would look different to the model",
            fix,
        )
    else:
        yield Finding(
            "warning",
            "value range",
            f"the images hold values from {low:g} to {high:g}, and no data.value_range says which are black and white",
            effect="the range is guessed for each image, and an image with other values would look different",
            fix=fix,
        )


def deep_colour(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn of PNG files of 16 bits for each of several channels, of which the upper eight bits are read."""
    files = tuple(facts.image for facts in survey.usable if facts.deep_colour)
    if files:
        yield Finding(
            "warning",
            "16-bit colour PNG",
            f"{len(files)} images are colour PNGs of 16 bits, of which the upper eight are read",
            files,
            "images that do not fill all 16 bits are nearly black",
            "Save them as TIFF or NPY and set data.value_range.",
        )


def channels_differ(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn when images have an alpha channel, or are grey, beside others that are not."""
    modes = most_common(facts.image_mode for facts in survey.usable if facts.image_mode)
    if len(modes) < 2 or not {"RGBA", "LA", "P"} & {mode for mode, _ in modes}:
        return
    rare = modes[-1][0]
    yield Finding(
        "note",
        "kinds of images",
        "the images are of several kinds: " + ", ".join(f"{count} {mode}" for mode, count in modes),
        tuple(facts.image for facts in survey.usable if facts.image_mode == rare),
        "all are read as the same channels; what is transparent shows the colour below",
    )


def _bits(high: float) -> int:
    return next((bits for bits in _BIT_DEPTHS if high < 1 << bits), _BIT_DEPTHS[-1])
