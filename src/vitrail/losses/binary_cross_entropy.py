"""Binary cross entropy, one sigmoid per class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.losses.criterion import register_loss
from vitrail.losses.pixels import check_class_weights, class_weight_tensor, in_full_precision, split_ignored


@register_loss("binary_cross_entropy")
class BinaryCrossEntropyLoss(nn.Module):
    """Binary cross entropy of each class against all others, averaged over classes and non-ignored pixels.

    Parameters
    ----------
    class_weights : sequence of float, optional
        One factor per class, which multiplies the loss of that class at every pixel. The divisor of the mean does
        not change.
    ignored_in_mean : bool
        Whether ignored pixels count in the divisor (they never count in the sum). False is SSSegmentation's
        `CrossEntropyLoss(use_sigmoid=True)`; True is MMSegmentation's default (`avg_non_ignore=False`).

    Notes
    -----
    No one-hot targets [B, K, H, W] are created: the loss of a pixel is the sum of `softplus` over its logits minus the
    logit of its class.
    """

    class_weights: Tensor | None

    def __init__(self, *, class_weights: Sequence[float] | None = None, ignored_in_mean: bool = False) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weight_tensor(class_weights), persistent=False)
        self.ignored_in_mean = ignored_in_mean

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits [B, K, H, W] for targets [B, H, W]; 0 when every pixel is ignored."""
        check_class_weights(self.class_weights, logits)
        logits = in_full_precision(logits)
        classes, valid = split_ignored(targets)
        negative = F.softplus(logits)  # [B, K, H, W]
        own = logits.gather(1, classes.unsqueeze(1)).squeeze(1)  # [B, H, W]
        if self.class_weights is not None:
            weights = self.class_weights.to(logits.dtype)
            negative, own = negative * weights[:, None, None], own * weights[classes]
        loss = torch.where(valid, negative.sum(dim=1) - own, 0.0)
        pixels = valid.numel() if self.ignored_in_mean else valid.sum().clamp(min=1)
        return loss.sum() / (pixels * logits.shape[1])
