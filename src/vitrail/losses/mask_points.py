"""Set prediction loss at sampled points: matching, then classification, mask and Dice losses (Mask2Former)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.points import neighbours, sample_points, uncertain_points
from vitrail.losses.mask_classification import MaskClassificationLoss, Matches, QueryPrediction


class PointMaskLoss(MaskClassificationLoss):
    """Classification loss, and cross entropy and Dice loss of masks at sampled points.

    Parameters
    ----------
    num_points : int
        P: masks are compared at so many random points of an image for the matching, and of each matched mask for the
        losses.
    oversample, importance_ratio : float
        See `uncertain_points`: how the points of the losses are chosen.
    class_weight, mask_weight, dice_weight, no_object_weight
        See `MaskClassificationLoss`; the loss of masks is the binary cross entropy.

    References
    ----------
    Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, arXiv:2112.01527,
    section 3.3.
    """

    def __init__(
        self,
        *,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance_ratio: float = 0.75,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
    ) -> None:
        super().__init__(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            no_object_weight=no_object_weight,
        )
        self.num_points = num_points
        self.oversample = oversample
        self.importance_ratio = importance_ratio

    def costs(self, layers: Sequence[QueryPrediction], targets: Tensor, num_classes: int) -> Tensor:
        """Return the matching costs [L, B, Q, K]; each layer and image has its own points."""
        return torch.stack([self._cost_at_points(x, targets, num_classes) for x in layers])

    def _cost_at_points(self, prediction: QueryPrediction, targets: Tensor, num_classes: int) -> Tensor:
        points = torch.rand(len(targets), self.num_points, 2, device=targets.device)
        masks = sample_points(prediction.masks, points)  # [B, Q, P]
        pixels, weights = neighbours(points, (targets.shape[-2], targets.shape[-1]))
        labels = targets.flatten(1).gather(1, pixels.flatten(1)).view_as(pixels)  # [B, P, 4]
        classes = torch.arange(num_classes, device=targets.device)[:, None]
        one_hot = masks.new_zeros(len(targets), num_classes, self.num_points)
        for label, weight in zip(labels.unbind(-1), weights.to(masks.dtype).unbind(-1), strict=True):
            one_hot += (label[:, None] == classes) * weight[:, None]
        return self.cost(prediction.classes, masks, one_hot)

    def binary_costs(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross entropy of each logit if the point is inside of the mask, and if it is outside."""
        return F.softplus(-logits), F.softplus(logits)

    def matched(self, masks: Tensor, matches: Matches, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask logits and the target masks of matched queries at points of their own, [N, P] each."""
        maps = masks.unsqueeze(1)
        with torch.no_grad():
            points = uncertain_points(
                maps, self.num_points, oversample=self.oversample, importance_ratio=self.importance_ratio
            )
            pixels, weights = neighbours(points, (targets.shape[-2], targets.shape[-1]))
            labels = targets.flatten(1)[matches.image[:, None, None], pixels]  # [N, P, 4]
            inside = ((labels == matches.label[:, None, None]) * weights.to(masks.dtype)).sum(-1)
        return sample_points(maps, points)[:, 0], inside

    def mask_loss(self, logits: Tensor, target_masks: Tensor) -> Tensor:
        """Return the binary cross entropy of mask logits [N, P]: the mean over points, summed over masks."""
        entropy = F.binary_cross_entropy_with_logits(logits, target_masks, reduction="sum")
        return entropy / max(logits.shape[1], 1)
