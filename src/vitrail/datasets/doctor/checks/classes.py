"""Checks of what the masks hold: classes without pixels, one class only, pixels that are ignored."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.survey import SplitSurvey
from vitrail.datasets.mask_files import IndexMasks
from vitrail.labels import IGNORE

_MUCH = 0.5  # of all pixels: so many ignored ones are seldom meant


def one_class(survey: SplitSurvey) -> Iterator[Finding]:
    """Stop at a dataset of one class."""
    classes = survey.benchmark.classes
    if len(classes) == 1:
        yield Finding(
            "stop",
            "one class",
            f"there is one class only, {classes[0]!r}",
            effect="a model that can say nothing else has a loss of 0 and an mIoU of 100 without learning anything",
            fix="Name the rest too: 'classes: [background, "
            f"{classes[0]}]' in classes.yaml, with 'values: [255, 0]' where the rest is 255 in the masks.",
        )


def binary_masks(survey: SplitSurvey) -> Iterator[Finding]:
    """Stop at masks of 0 and 255 whose 255 is ignored, and say how masks of 0 and 255 are read."""
    reader = getattr(survey.source, "read_mask", None)
    if not isinstance(reader, IndexMasks) or not survey.usable:
        return
    classes = survey.benchmark.classes
    if reader.labels.get(IGNORE) == 1 and reader.labels.get(0) == 0 and len(classes) == 2:
        yield Finding(
            "note", "binary masks", f"the masks hold 0 and 255: 0 is {classes[0]!r} and 255 is {classes[1]!r}"
        )
        return
    counts = survey.counts
    if (
        len(classes) < 2
        or not counts[0]
        or any(counts[1:])
        or not survey.ignored
        or reader.labels.get(IGNORE) != IGNORE
    ):
        return
    yield Finding(
        "stop",
        "binary masks",
        f"the masks of the split {survey.split!r} hold 0 and 255 alone, and 255 is ignored",
        tuple(facts.mask for facts in survey.usable if facts.ignored),
        f"every pixel of what is white would be ignored, and the model would learn {classes[0]!r} alone",
        "If white is the second class, write 'values: [0, 255]' into classes.yaml beside its 'classes'.",
    )


def unused_classes(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn of classes without a pixel; stop when no pixel has a class."""
    counts, classes = survey.counts, survey.benchmark.classes
    if survey.usable and not any(counts):
        yield Finding(
            "stop",
            "no labels",
            f"no pixel of the split {survey.split!r} has a class: every mask is 255 (ignored) throughout",
            tuple(facts.mask for facts in survey.usable),
            "there is nothing to learn from or to compare with: the mIoU would be undefined",
            "Use masks with labels, or another split: data.train_split, data.eval_split.",
        )
        return
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing and survey.usable:
        listed = ", ".join(repr(name) for name in missing[:10]) + (", …" if len(missing) > 10 else "")
        yield Finding(
            "warning",
            "classes without pixels",
            f"no pixel of the split {survey.split!r} is of {'class' if len(missing) == 1 else 'the classes'} {listed}",
            effect="a class without pixels in training is never learned, and in validation has no IoU",
            fix="Correct the masks or classes.yaml, draw the split with another data.options.split_seed, or ignore it: "
            f"'data.classes={{{missing[0]}: null}}'.",
        )


def ignored_pixels(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn when a large share of the pixels is ignored."""
    labelled = sum(survey.counts)
    share = survey.ignored / max(labelled + survey.ignored, 1)
    if labelled and share > _MUCH:
        most = sorted(survey.usable, key=lambda facts: -facts.ignored)
        yield Finding(
            "warning",
            "ignored pixels",
            f"{share:.1%} of all pixels of the split {survey.split!r} are ignored",
            tuple(facts.mask for facts in most),
            "the model learns nothing about what they show, and may say anything there",
            "If they are a background, make it a class: list its value under 'values' in classes.yaml.",
        )
