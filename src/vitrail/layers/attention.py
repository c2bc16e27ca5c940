"""Attention between feature maps."""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F


class ObjectAttention(nn.Module):
    """Each pixel attends to a few region vectors; every projection is 1 x 1 convolutions with batch norm and ReLU.

    Parameters
    ----------
    channels : int
        Channels of the pixels, of the regions and of the result.
    inner_channels : int
        Channels in which they are compared.

    References
    ----------
    Yuan, Chen and Wang, "Object-Contextual Representations for Semantic Segmentation", ECCV 2020, arXiv:1909.11065.
    """

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.query = _project(channels, inner_channels, 2)
        self.key = _project(channels, inner_channels, 2)
        self.value = _project(channels, inner_channels, 1)
        self.out = _project(inner_channels, channels, 1)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Map pixels [B, C, h, w] and regions [B, C, K, 1] to the pixels' context [B, C, h, w]."""
        query, key, value = self.query(pixels), self.key(regions), self.value(regions)
        context = F.scaled_dot_product_attention(
            query.flatten(2).transpose(1, 2), key.flatten(2).transpose(1, 2), value.flatten(2).transpose(1, 2)
        )  # [B, h * w, D]
        return self.out(context.transpose(1, 2).reshape(query.shape))


def _project(in_channels: int, channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ConvNormAct(in_channels if i == 0 else channels, channels, 1) for i in range(count)))
