"""Boundary IoU: the intersection over union of the pixels near the boundaries of the classes.

B. Cheng, R. Girshick, P. Dollár, A. C. Berg and A. Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021, arXiv:2103.16562.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.labels import ignore_index
from vitrail.layers.processes import sum_over_processes

DILATION_RATIO = 0.02  # of the image's diagonal, as in the authors' code


class BoundaryCounts:
    """Pixel counts of the boundary regions of each class, accumulated over the images of a dataset.

    The boundary region of a mask holds its pixels that are no further than `d` (in the maximum norm) from a pixel that
    does not belong to it, or from the border of the image; `d` is 2 % of the image's diagonal, rounded, 1 at least.
    What is ignored in the true mask belongs to no class in the prediction either.

    Parameters
    ----------
    num_classes : int
        K, the number of classes.
    device : torch.device
        The device of the counts.

    Attributes
    ----------
    counts : Tensor [3, K]
        Pixels in both boundary regions, in the true one, and in the predicted one, int64; those of this process only
        until `reduce`.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(3, num_classes, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Add an image: predicted and true class indices [H, W]; what is ignored is so in the true ones."""
        ignored = ignore_index(self.counts.shape[1])
        truth = mask.to(self.counts.device).long()
        guess = prediction.to(self.counts.device).long().masked_fill(truth == ignored, ignored)
        height, width = truth.shape
        distance = max(round(DILATION_RATIO * (height**2 + width**2) ** 0.5), 1)
        for label in torch.cat([truth.unique(), guess.unique()]).unique().tolist():
            if label == ignored:
                continue
            true, predicted = (boundary_region(labels == label, distance) for labels in (truth, guess))
            self.counts[:, label] += torch.stack([(true & predicted).sum(), true.sum(), predicted.sum()])

    def reduce(self) -> Tensor:
        """Sum the counts over all processes and return them; call it once, at the end."""
        self.counts = sum_over_processes(self.counts)
        return self.counts


def boundary_region(mask: Tensor, distance: int) -> Tensor:
    """Return the pixels of a mask, bool [H, W], that lie within `distance` of its outside or of the image's border."""
    outside = F.pad((~mask)[None, None].float(), [distance] * 4, value=1.0)
    side = 2 * distance + 1
    near = F.max_pool2d(F.max_pool2d(outside, (1, side), stride=1), (side, 1), stride=1)[0, 0]
    return mask & near.bool()


def boundary_iou(counts: Tensor) -> tuple[float, ...]:
    """Return the boundary IoU of each class from counts [3, K]; nan for a class that occurs nowhere."""
    both, true, predicted = counts.cpu().double()
    return tuple((both / (true + predicted - both)).tolist())
