"""Check of images whose EXIF data turn them, while their masks are not turned."""

from __future__ import annotations

from collections.abc import Iterator

from vitrail.datasets.doctor.finding import Finding
from vitrail.datasets.doctor.survey import SplitSurvey


def turned_images(survey: SplitSurvey) -> Iterator[Finding]:
    """Warn when an image is turned upright by its EXIF data and its mask is not, though their sizes agree."""
    turned = [facts for facts in survey.usable if facts.image_turned != facts.mask_turned and facts.mask_mode]
    if turned:
        yield Finding(
            "warning",
            "EXIF orientation",
            f"the EXIF data turn {len(turned)} of {len(survey.usable)} images of the split {survey.split!r}, but not "
            "their masks",
            tuple(facts.image for facts in turned),
            "if the masks were drawn on the pixels as they are stored, image and mask show different places",
            "Look at them with --report DIR. --fix OUT writes upright images without EXIF data; with --turn-masks, it "
            "also turns their masks.",
        )
