"""Calibration: whether the probabilities of predictions are as often right as they say.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
arXiv:1706.04599.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.labels import ignore_index
from vitrail.layers.processes import sum_over_processes

BINS = 15
_UNIT = 2**24  # confidences are summed as integers, so that the sum is the same in any order


class CalibrationCounts:
    """Pixels by the probability of their predicted class, accumulated over the images of a dataset.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    device : torch.device
        The device of the counts.

    Attributes
    ----------
    counts : Tensor [3, BINS]
        For each bin of probabilities, (i / BINS, (i + 1) / BINS], its pixels, those of them that are right, and the sum
        of their probabilities in units of 2⁻²⁴, int64; those of this process only until `reduce`.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(3, BINS, dtype=torch.int64, device=device)
        self._ignored = ignore_index(num_classes)
        self._borders = (torch.arange(1, BINS, dtype=torch.float64) / BINS).float().to(device)

    def update(self, prediction: Tensor, scores: Tensor, mask: Tensor) -> None:
        """Add an image: predicted classes, their probabilities, and the true classes, [H, W] each."""
        labelled = mask != self._ignored
        confidence, right = scores[labelled].float(), (prediction == mask)[labelled]
        bins = torch.bucketize(confidence, self._borders)
        self.counts[0] += torch.bincount(bins, minlength=BINS)
        self.counts[1] += torch.bincount(bins[right], minlength=BINS)
        self.counts[2].index_add_(0, bins, (confidence.double() * _UNIT).round().long())

    def reduce(self) -> Tensor:
        """Sum the counts over all processes and return them; call it once, at the end."""
        self.counts = sum_over_processes(self.counts)
        return self.counts


@dataclass(frozen=True)
class Calibration:
    """How often pixels are right, by the probability of their predicted class.

    Attributes
    ----------
    pixels, right : tuple of int
        Pixels in each of 15 bins of probabilities of equal width, and those of them that are right.
    confidence : tuple of float
        The sum of the probabilities in each bin.
    """

    pixels: tuple[int, ...]
    right: tuple[int, ...]
    confidence: tuple[float, ...]

    @classmethod
    def of_counts(cls, counts: Tensor) -> Calibration:
        """Return the calibration from the counts of `CalibrationCounts`, [3, BINS]."""
        pixels, right, confidence = counts.tolist()
        return cls(tuple(pixels), tuple(right), tuple(total / _UNIT for total in confidence))

    @property
    def ece(self) -> float:
        """Expected calibration error (equation 3): the mean over all pixels of |accuracy − confidence| of their bin."""
        total = sum(self.pixels)
        gaps = (abs(right - confidence) for right, confidence in zip(self.right, self.confidence, strict=True))
        return sum(gaps) / total if total else math.nan

    @property
    def bins(self) -> list[tuple[float, float, float]]:
        """For each bin with pixels their mean probability, the share that is right, and their share of all pixels."""
        total = sum(self.pixels)
        rows = zip(self.pixels, self.right, self.confidence, strict=True)
        return [(confidence / pixels, right / pixels, pixels / total) for pixels, right, confidence in rows if pixels]
