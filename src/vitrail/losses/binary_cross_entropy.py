"""Binary cross entropy, one sigmoid per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from vitrail.labels import ignore_index
from vitrail.losses.criterion import ResizingLoss, register_loss
from vitrail.losses.per_pixel import per_pixel_binary_cross_entropy
from vitrail.losses.pixels import check_class_weights, class_weight_tensor


@register_loss("binary_cross_entropy")
class BinaryCrossEntropyLoss(ResizingLoss):
    """Binary cross entropy of each class against all others, averaged over classes and non-ignored pixels.

    Parameters
    ----------
    class_weights : sequence of float or str, optional
        One factor per class, which multiplies the loss of that class at every pixel. The divisor of the mean does
        not change.
    ignored_in_mean : bool
        Whether ignored pixels count in the divisor (they never count in the sum). False is SSSegmentation's
        `CrossEntropyLoss(use_sigmoid=True)`; True is MMSegmentation's default (`avg_non_ignore=False`).

    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | Literal["balanced", "enet", "effective_number"] | None = None,
        ignored_in_mean: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weight_tensor(class_weights), persistent=False)
        self.ignored_in_mean = ignored_in_mean

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, K, h, w] for targets [B, H, W]; 0 when every pixel is ignored."""
        check_class_weights(self.class_weights, logits)
        loss = per_pixel_binary_cross_entropy(
            logits, targets, align_corners=align_corners, class_weights=self.class_weights
        )
        ignored = ignore_index(logits.shape[1])
        pixels = targets.numel() if self.ignored_in_mean else (targets != ignored).sum().clamp(min=1)
        return loss.sum() / (pixels * logits.shape[1])
