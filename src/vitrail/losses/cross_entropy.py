"""Softmax cross entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vitrail.labels import ignore_index
from vitrail.losses.criterion import ResizingLoss, register_loss
from vitrail.losses.per_pixel import per_pixel_cross_entropy
from vitrail.losses.pixels import check_class_weights, class_weight_tensor, split_ignored


@register_loss("cross_entropy")
class CrossEntropyLoss(ResizingLoss):
    """Softmax cross entropy, averaged over non-ignored pixels.

    Parameters
    ----------
    class_weights : sequence of float or str, optional
        One factor per class.
    label_smoothing : float
        Share of the target probability that is distributed evenly over all classes.
    ignored_in_mean : bool
        Whether ignored pixels count in the divisor (they never count in the sum). False is the mean of PyTorch and
        SSSegmentation; True is MMSegmentation's default (`avg_non_ignore=False`), whose gradients shrink with the
        share of ignored pixels.
    weights_in_mean : bool
        Whether the divisor is the sum of the pixels' class weights (PyTorch, MMSegmentation and SSSegmentation)
        rather than their number (SSSegmentation's `norm_loss_with_class_weight=False`).
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | Literal["balanced", "enet", "effective_number"] | None = None,
        label_smoothing: float = 0.0,
        ignored_in_mean: bool = False,
        weights_in_mean: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weight_tensor(class_weights), persistent=False)
        self.label_smoothing = label_smoothing
        self.ignored_in_mean = ignored_in_mean
        self.weights_in_mean = weights_in_mean

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, K, h, w] for targets [B, H, W]; 0 when every pixel is ignored."""
        check_class_weights(self.class_weights, logits)
        loss = per_pixel_cross_entropy(
            logits,
            targets,
            align_corners=align_corners,
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
        )
        return loss.sum() / self._divisor(targets, logits.shape[1]).to(loss.dtype)

    def _divisor(self, targets: Tensor, num_classes: int) -> Tensor:
        if self.class_weights is not None and self.weights_in_mean:
            classes, valid = split_ignored(targets, num_classes)
            weight = (self.class_weights[classes] * valid).sum()
            return torch.where(weight > 0, weight, 1.0)
        if self.ignored_in_mean:
            return torch.tensor(targets.numel(), device=targets.device)
        return (targets != ignore_index(num_classes)).sum().clamp(min=1)
