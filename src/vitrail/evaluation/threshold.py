"""The threshold of the second of two classes with the highest mean IoU."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.inference.score_map import Labels
from vitrail.labels import IGNORE
from vitrail.layers.processes import sum_over_processes

STEPS = 1000  # thresholds are multiples of 1 / STEPS


class ThresholdCounts:
    """Pixels of two classes by the probability of the second one, accumulated over the images of a dataset.

    Parameters
    ----------
    device : torch.device
        The device of the counts.

    Attributes
    ----------
    counts : Tensor [2, STEPS]
        Pixels of either true class, by the number of thresholds that their probability exceeds, int64; those of this
        process only until `best`.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(2, STEPS, dtype=torch.int64, device=device)
        self._thresholds = (torch.arange(1, STEPS, dtype=torch.float64) / STEPS).float().to(device)

    def update(self, labels: Labels, mask: Tensor) -> None:
        """Add an image: labels with scores, found with any threshold, and the true mask [H, W], 255 ignored."""
        assert labels.scores is not None
        second = torch.where(labels.mask == 1, labels.scores, 1 - labels.scores)
        exceeded = torch.bucketize(second.contiguous(), self._thresholds)  # the number of thresholds below
        labelled = mask != IGNORE
        index = mask[labelled].long() * STEPS + exceeded[labelled]
        self.counts += torch.bincount(index, minlength=2 * STEPS).view(2, STEPS)

    def best(self) -> float:
        """Return the threshold with the highest mean IoU over all processes, the one nearest to 0.5 among equals."""
        first, second = sum_over_processes(self.counts).cpu().double()
        # What is predicted with threshold (j + 1) / STEPS as the second class: whatever exceeds more than j thresholds.
        wrong, right = (first.sum() - first.cumsum(0))[:-1], (second.sum() - second.cumsum(0))[:-1]
        missed, right_first = second.sum() - right, first.sum() - wrong
        iou = torch.stack([right_first / (first.sum() + missed), right / (second.sum() + wrong)]).nanmean(dim=0)
        thresholds = torch.arange(1, STEPS, dtype=torch.float64) / STEPS
        among = iou >= iou.max() - 1e-12
        distance = torch.where(among, (thresholds - 0.5).abs(), torch.inf)
        return float(thresholds[distance.argmin()])
