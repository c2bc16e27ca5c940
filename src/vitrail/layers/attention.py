"""Attention between feature maps, and among tokens whose positions count."""

from __future__ import annotations

import torch
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


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, dropout: float = 0.0) -> Tensor:
    """Return softmax(query keyᵀ / √C + bias) value, [B, H, N, C], for a bias [1 or B, H, N, M] that may be learned.

    For a bias that is learned torch has no kernel on the CPU and takes steps that keep scaled copies of queries and
    keys for the backward pass. These keep none.
    """
    if query.device.type != "cpu" or not (torch.is_grad_enabled() and bias.requires_grad):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    batch = query.shape[:2]
    scores = torch.baddbmm(
        bias.expand(*batch, -1, -1).flatten(0, 1),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=query.shape[-1] ** -0.5,
    )
    weights = F.dropout(scores.softmax(dim=2), dropout)
    return torch.bmm(weights, value.flatten(0, 1)).unflatten(0, batch)
