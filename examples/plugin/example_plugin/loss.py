"""A loss: cross entropy with smoothed labels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vitrail import IGNORE, register_loss


@register_loss("example_smoothed")
class SmoothedCrossEntropy(nn.Module):
    """Cross entropy with smoothed labels (Szegedy et al., CVPR 2016, arXiv:1512.00567).

    Parameters
    ----------
    smoothing : float
        Probability that is shared equally among all classes.
    """

    def __init__(self, *, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits [B, K, H, W] for targets [B, H, W]."""
        return F.cross_entropy(logits.float(), targets.long(), ignore_index=IGNORE, label_smoothing=self.smoothing)
