"""What an evaluation counts: integers, so that those of several processes or parts add up exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitrail.evaluation.calibration import Calibration
from vitrail.evaluation.result import Evaluation, ImageScore


@dataclass(frozen=True, eq=False)
class DatasetCounts:
    """The counts over the images of a dataset, or of a part of it, from which every figure follows.

    Attributes
    ----------
    confusion : Tensor [K, K]
        As in `Evaluation`.
    classes, palette, scores, seconds, boundary, threshold
        As in `Evaluation`.
    calibration : Tensor or None
        As in `CalibrationCounts`, int64 [3, BINS].
    """

    confusion: Tensor
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    scores: tuple[ImageScore, ...]
    seconds: float
    boundary: Tensor | None
    calibration: Tensor | None
    threshold: float | None

    def evaluation(self) -> Evaluation:
        """Return the figures."""
        return Evaluation(
            confusion=self.confusion,
            classes=self.classes,
            palette=self.palette,
            images=len(self.scores),
            seconds=self.seconds,
            scores=self.scores,
            boundary=self.boundary,
            calibration=None if self.calibration is None else Calibration.of_counts(self.calibration),
            threshold=self.threshold,
        )


def add_up(parts: Sequence[DatasetCounts]) -> DatasetCounts:
    """Return the counts of all N parts of a dataset, of which part I has the images I, I + N, I + 2 N, …

    The duration is that of the slowest part.

    Raises
    ------
    OverflowError
        For sums that int64 does not hold.
    """
    first = parts[0]
    scores: list[ImageScore | None] = [None] * sum(len(part.scores) for part in parts)
    for index, part in enumerate(parts):
        scores[index :: len(parts)] = part.scores
    return replace(
        first,
        confusion=_sum([part.confusion for part in parts]),
        scores=tuple(score for score in scores if score is not None),
        seconds=max(part.seconds for part in parts),
        boundary=None if first.boundary is None else _sum([part.boundary for part in parts]),
        calibration=None if first.calibration is None else _sum([part.calibration for part in parts]),
    )


def _sum(counts: Sequence[Tensor | None]) -> Tensor:
    stacked = torch.stack([each for each in counts if each is not None])
    if stacked.sum(dtype=torch.float64) >= 2**63:
        raise OverflowError("they count more pixels than int64 holds")
    return stacked.sum(dim=0)
