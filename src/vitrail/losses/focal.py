"""Focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrail.layers.resize import resize_logits
from vitrail.losses.criterion import ResizingLoss, register_loss
from vitrail.losses.per_pixel import per_pixel_cross_entropy
from vitrail.losses.pixels import (
    check_class_weights,
    class_weight_tensor,
    in_full_precision,
    split_ignored,
)


@register_loss("focal")
class FocalLoss(ResizingLoss):
    """Focal loss, averaged over non-ignored pixels (with `sigmoid=True` also over classes).

    Parameters
    ----------
    gamma : float
        Focusing parameter: the exponent of (1 − p), where p is the probability of the correct answer; 0 gives (binary)
        cross entropy.
    alpha : float, optional
        Factor of the loss. With `sigmoid=True` it applies to the target class of a pixel, `1 - alpha` to the others.
    class_weights : sequence of float or str, optional
        One factor per class. The divisor of the mean does not change.
    sigmoid : bool
        Whether each class is a separate binary problem, as in the paper and by default in MMSegmentation and
        SSSegmentation; False uses the softmax over the classes.

    References
    ----------
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        class_weights: Sequence[float] | Literal["balanced", "enet", "effective_number"] | None = None,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weight_tensor(class_weights), persistent=False)
        self.gamma = gamma
        self.alpha = alpha
        self.sigmoid = sigmoid

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, K, h, w] for targets [B, H, W]; 0 when every pixel is ignored."""
        check_class_weights(self.class_weights, logits)
        classes, valid = split_ignored(targets, logits.shape[1])
        if self.sigmoid:
            resized = resize_logits(in_full_precision(logits), targets.shape[-2:], align_corners=align_corners)
            loss, terms = self._binary(resized, classes), logits.shape[1]
        else:
            entropy = per_pixel_cross_entropy(logits, targets, align_corners=align_corners)  # [B, H, W]
            loss, terms = self._softmax(entropy, classes), 1
        return torch.where(valid, loss, 0.0).sum() / (valid.sum().clamp(min=1) * terms)

    def _softmax(self, entropy: Tensor, classes: Tensor) -> Tensor:
        # -expm1(-x) is 1 - p without the cancellation that would make the gradient NaN for gamma < 1
        loss = (-torch.expm1(-entropy)).clamp(min=1e-12).pow(self.gamma) * entropy
        if self.alpha is not None:
            loss = self.alpha * loss
        return loss if self.class_weights is None else loss * self.class_weights.to(loss.dtype)[classes]

    def _binary(self, logits: Tensor, classes: Tensor) -> Tensor:
        present = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes.unsqueeze(1), True)
        wrong = torch.where(present, -logits, logits)  # the logit of the wrong binary label, [B, K, H, W]
        loss = wrong.sigmoid().pow(self.gamma) * F.softplus(wrong)
        if self.alpha is not None:
            loss = loss * torch.where(present, self.alpha, 1 - self.alpha)
        if self.class_weights is not None:
            loss = loss * self.class_weights.to(loss.dtype)[:, None, None]
        return loss.sum(dim=1)
