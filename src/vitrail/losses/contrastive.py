"""Contrastive loss of pairs: each is compared with those of all other images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.processes import gather_with_gradient, process_rank
from vitrail.losses.pixels import in_full_precision

_LARGEST_SCALE = 100.0


class ContrastiveLoss(nn.Module):
    """Cross entropy of which text belongs to which image, and of which image to which text.

    With one image, in all processes together, there is nothing to compare and the loss is 0.

    Parameters
    ----------
    temperature : float
        What cosine similarities are divided by at the beginning; it is learned.

    References
    ----------
    Jain et al., "OneFormer", CVPR 2023, arXiv:2211.06220, equation 1.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return the sum of both cross entropies, for queries [B, Q, C] of images and of the texts about them."""
        images, texts = (F.normalize(in_full_precision(x).flatten(1), dim=-1) for x in (images, texts))
        labels = torch.arange(len(images), device=images.device) + process_rank() * len(images)
        scale = self.log_scale.exp().clamp(max=_LARGEST_SCALE)
        with torch.autocast(images.device.type, enabled=False):
            by_image = scale * images @ gather_with_gradient(texts).T
            by_text = scale * texts @ gather_with_gradient(images).T
        return F.cross_entropy(by_image, labels) + F.cross_entropy(by_text, labels)
