"""Checks of images and masks as pairs: unusable ones, masks that repeat, images in two splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from vitrail.datasets.doctor.facts import Facts
from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.survey import SplitSurvey
from vitrail.datasets.files import OTHER_SIZE
from vitrail.datasets.mask_files import LOSSY, NO_CLASS
from vitrail.datasets.repairs import other_values, repairable

_SHOWN_ERRORS = 10
_FIX = "vitrail dataset check folder --root ROOT --fix OUT"
_REPAIR = (
    f"If masks were resized with a smooth filter or compressed with loss, {_FIX} writes them with the nearest classes."
)
_RESIZE = (
    f"{_FIX} gives masks of the shape of their image its size, by the nearest pixel, and turns those that are of the "
    "size that it has before EXIF data turn it."
)


def unusable_pairs(survey: SplitSurvey) -> Iterator[Finding]:
    """Stop at pairs that cannot be read."""
    bad = [facts for facts in survey.facts if facts.error]
    if not bad:
        return
    more = f"\n… and {len(bad) - _SHOWN_ERRORS} more" if len(bad) > _SHOWN_ERRORS else ""
    listed = "\n".join(facts.error for facts in bad[:_SHOWN_ERRORS])
    noun = "image" if len(bad) == 1 else "images"
    yield Finding(
        "stop",
        "unusable files",
        f"{len(bad)} {noun} of the split {survey.split!r} cannot be used",
        effect="training would end when it comes to them",
        fix="\n".join([f"Correct or remove them:\n{listed}{more}", *_advice(survey, bad)]),
    )


def _advice(survey: SplitSurvey, bad: Sequence[Facts]) -> Iterator[str]:
    """Yield what mends many pairs at once, of a folder of one's own masks."""
    if survey.benchmark.name != "folder":
        return
    files, reader = survey.source.files, getattr(survey.source, "read_mask", None)
    masks = [pair.mask for pair in survey.source.pairs]
    unknown = any(NO_CLASS in facts.error for facts in bad)
    values = other_values(files, masks, reader) if unknown else ""
    if values:
        yield f"{values}."
    elif (unknown or any(LOSSY in facts.error for facts in bad)) and repairable(files, masks, reader):
        yield _REPAIR
    if any(OTHER_SIZE in facts.error for facts in bad):
        yield _RESIZE


def repeated_masks(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn when different images share one mask, as after pairing by mistake."""
    usable = survey.usable
    if len({facts.mask for facts in usable}) < len(usable):
        return  # one annotation file for several images
    by_mask: dict[str, set[str]] = {}
    for facts in usable:
        if sum(count > 0 for count in facts.counts) > 1:  # a mask of one class may well repeat
            by_mask.setdefault(facts.mask_digest, set()).add(facts.image_digest)
    times = {digest: len(images) for digest, images in by_mask.items()}
    shared = {digest for digest, count in times.items() if count > 1}
    files = tuple(facts.mask for facts in usable if facts.mask_digest in shared)
    if len(files) > max(2, len(usable) // 10):
        yield Finding(
            "warning",
            "repeated masks",
            f"{len(files)} masks of the split {survey.split!r} are copies of each other, but their images differ",
            files,
            "images with the mask of another image teach nonsense",
            "Compare them: vitrail dataset check … --report DIR shows images with their masks.",
        )


def same_images(training: SplitSurvey, validation: SplitSurvey) -> Iterator[Finding]:
    """Warn of images that are in both splits, and stop when most of the validation split is in training."""
    seen = {facts.image_digest: facts for facts in training.usable}
    both = [facts for facts in validation.usable if facts.image_digest in seen]
    if not both or training.split == validation.split:
        return
    copies = [facts for facts in both if seen[facts.image_digest].image != facts.image]
    files = tuple(f"{facts.image} = {seen[facts.image_digest].image}" for facts in copies)
    files += tuple(facts.image for facts in both if facts not in copies)
    most = 2 * len(both) > len(validation.usable) and len(copies) == len(both)
    yield Finding(
        "stop" if most else "warning",
        "images in two splits",
        f"{len(both)} of {len(validation.usable)} images of the split {validation.split!r} are in "
        f"{training.split!r} too",
        files,
        "the validation figures are too good: they measure what was learned by heart",
        "Remove them from one of the splits.",
    )


def most_common(values: Iterator[str]) -> list[tuple[str, int]]:
    """Return values with how often they occur, the most frequent first."""
    return Counter(values).most_common()
