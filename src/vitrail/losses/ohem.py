"""Cross entropy with online hard example mining (OHEM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.losses.criterion import ResizingLoss, register_loss
from vitrail.losses.per_pixel import per_pixel_cross_entropy
from vitrail.losses.pixels import check_class_weights, class_weight_tensor, split_ignored


@register_loss("ohem")
class OHEMCrossEntropyLoss(ResizingLoss):
    """Cross entropy averaged over hard pixels, whose target class has a low predicted probability.

    Parameters
    ----------
    threshold : float or None
        A pixel is hard when the probability of its target class is below this. None keeps the `min_kept` pixels with
        the largest loss instead.
    min_kept : int
        Minimum number of pixels to keep; the threshold is raised until that many are kept.
    per_image : bool
        Whether `min_kept` is multiplied by the batch size; False is MMSegmentation's `OhemCrossEntropy`.
    class_weights : sequence of float or str, optional
        One factor per class. The divisor of the mean does not change.
    mean_over_all : bool
        Whether the sum is divided by the number of all pixels rather than of the pixels kept. False is
        SSSegmentation and MMSegmentation's `OhemCrossEntropy`; True is MMSegmentation's `OHEMPixelSampler` with its
        default cross entropy.

    References
    ----------
    Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016,
    arXiv:1604.03540.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        threshold: float | None = 0.7,
        min_kept: int = 100_000,
        per_image: bool = True,
        class_weights: Sequence[float] | Literal["balanced", "enet", "effective_number"] | None = None,
        mean_over_all: bool = False,
    ) -> None:
        super().__init__()
        if min_kept < 1:
            raise ModelError(f"min_kept of loss 'ohem' must be at least 1, not {min_kept}")
        self.register_buffer("class_weights", class_weight_tensor(class_weights), persistent=False)
        self.threshold = threshold
        self.min_kept = min_kept
        self.per_image = per_image
        self.mean_over_all = mean_over_all

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, K, h, w] for targets [B, H, W]; 0 when every pixel is ignored."""
        check_class_weights(self.class_weights, logits)
        classes, valid = split_ignored(targets, logits.shape[1])
        loss = per_pixel_cross_entropy(logits, targets, align_corners=align_corners)  # [B, H, W]
        weighted = loss if self.class_weights is None else loss * self.class_weights.to(loss.dtype)[classes]
        hard = self._hard(loss.detach(), weighted.detach(), valid)
        kept = torch.tensor(hard.numel(), device=hard.device) if self.mean_over_all else hard.sum().clamp(min=1)
        return (weighted * hard).sum() / kept

    def _hard(self, loss: Tensor, weighted: Tensor, valid: Tensor) -> Tensor:
        """Return the mask [B, H, W] of the pixels that are kept."""
        budget = self.min_kept * (len(valid) if self.per_image else 1)
        if self.threshold is None:
            ranked = torch.where(valid, weighted, -1.0).flatten()
            chosen = ranked.topk(min(budget, ranked.numel()), sorted=False).indices
            return torch.zeros_like(ranked, dtype=torch.bool).index_fill(0, chosen, True).view_as(valid) & valid
        probability = torch.where(valid, torch.exp(-loss), 2.0)
        enough = probability.flatten().kthvalue(min(budget + 1, probability.numel())).values
        easiest = torch.where(valid, probability, 0.0).amax()
        return (probability < torch.minimum(enough, easiest).clamp(min=self.threshold)) & valid
