"""Losses of models that tell two classes apart by one output, the logit of the second class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vitrail.losses.criterion import ResizingLoss, resized_loss


def two_class_logits(logit: Tensor) -> Tensor:
    """Return the logits [B, 2, H, W] of two classes from that of the second, [B, 1, H, W]; the first one's are 0.

    The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)), and its cross entropy is the binary cross entropy of z.
    """
    return torch.cat([torch.zeros_like(logit), logit], dim=1)


class OneOutputLoss(ResizingLoss):
    """A loss of two classes for a model of one output.

    Parameters
    ----------
    criterion : callable
        A `ResizingLoss`, or any `(logits [B, 2, H, W], targets [B, H, W]) -> scalar`. Cross entropy is the binary
        cross entropy of the output.
    """

    def __init__(self, criterion: Callable[..., Tensor]) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, 1, h, w] for targets [B, H, W] of 0 and 1, 255 ignored."""
        return resized_loss(self.criterion, two_class_logits(logits), targets, align_corners=align_corners)
