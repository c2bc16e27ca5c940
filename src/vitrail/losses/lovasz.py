"""Lovász-Softmax loss, a surrogate of the intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.labels import ignore_index
from vitrail.losses.criterion import register_loss
from vitrail.losses.pixels import in_full_precision


@register_loss("lovasz")
class LovaszLoss(nn.Module):
    """Lovász-Softmax loss, averaged over the classes that occur in the targets.

    Parameters
    ----------
    per_image : bool
        Whether the loss is computed per image and averaged, rather than over the whole batch.
    all_classes : bool
        Whether classes that do not occur in the targets are included in the mean.

    References
    ----------
    Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss: A tractable surrogate for the optimization of the
    intersection-over-union measure in neural networks", CVPR 2018, arXiv:1705.08790.
    """

    def __init__(self, *, per_image: bool = False, all_classes: bool = False) -> None:
        super().__init__()
        self.per_image = per_image
        self.all_classes = all_classes

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits [B, K, H, W] for targets [B, H, W]; 0 when every pixel is ignored."""
        scores = in_full_precision(logits).softmax(dim=1).flatten(2)  # [B, K, P]
        targets = targets.flatten(1)  # [B, P]
        if self.per_image:
            return torch.stack([self._flat(s, t) for s, t in zip(scores, targets, strict=True)]).mean()
        return self._flat(scores.transpose(0, 1).flatten(1), targets.flatten())

    def _flat(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of probabilities [K, P] for targets [P]."""
        valid = targets != ignore_index(len(scores))
        losses, counts = [], []
        # one class at a time: sorting [K, P] at once would hold int64 indices for every class and pixel
        for index, score in enumerate(scores):
            present = targets == index
            losses.append(lovasz_extension(torch.where(valid, (present.to(score) - score).abs(), -1.0), present))
            counts.append(valid.any() if self.all_classes else present.any())
        counted = torch.stack(counts)
        return (torch.stack(losses) * counted).sum() / counted.sum().clamp(min=1)


def lovasz_extension(errors: Tensor, present: Tensor) -> Tensor:
    """Return the Lovász extension of the Jaccard loss for one class, a scalar.

    Parameters
    ----------
    errors : Tensor
        Absolute error of each pixel [P], 0…1; negative where the pixel is ignored.
    present : Tensor
        Bool [P], True where the target is the class.
    """
    errors, order = errors.sort(descending=True)
    hits = present[order].to(errors.dtype)
    total = hits.sum()
    jaccard = 1 - (total - hits.cumsum(0)) / (total + (1 - hits).cumsum(0))
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return torch.dot(errors.clamp(min=0), steps)
