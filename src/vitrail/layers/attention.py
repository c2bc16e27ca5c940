"""Attention of the pixels of one map to those of another, to object regions, and with a relative position bias."""

from __future__ import annotations

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.layout import in_layout_of


class ObjectAttention(nn.Module):
    """Object attention of OCRNet: each pixel attends to region vectors, or to the pixels of another map.

    Every projection consists of 1×1 convolutions with batch norm and ReLU.

    Parameters
    ----------
    channels : int
        Channels of the pixels.
    inner_channels : int
        Channels of queries, keys and values.
    region_channels, out_channels : int, optional
        Channels of the regions and of the output; None is as many as the pixels have.

    References
    ----------
    Yuan, Chen and Wang, "Object-Contextual Representations for Semantic Segmentation", ECCV 2020, arXiv:1909.11065.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int,
        *,
        region_channels: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        region_channels = channels if region_channels is None else region_channels
        self.query = _project(channels, inner_channels, 2)
        self.key = _project(region_channels, inner_channels, 2)
        self.value = _project(region_channels, inner_channels, 1)
        self.out = _project(inner_channels, channels if out_channels is None else out_channels, 1)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Return the context [B, D, h, w] of pixels [B, C, h, w], gathered from regions [B, R, K, 1] or a map."""
        return self.out(attend(self.query(pixels), self.key(regions), self.value(regions)))


def _project(in_channels: int, channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ConvNormAct(in_channels if i == 0 else channels, channels, 1) for i in range(count)))


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """Compute scaled dot-product attention of every pixel of a map to every pixel of another.

    Parameters
    ----------
    query : Tensor
        [B, D, h, w].
    key, value : Tensor
        [B, D, …] and [B, C, …], with any number of dimensions behind the channels.
    scale : float, optional
        Factor of the scores before the softmax; None takes 1 / √D.

    Returns
    -------
    Tensor
        [B, C, h, w], in the memory format of the query.
    """
    # with four dimensions and channels that lie side by side, PyTorch's kernels do not keep the matrix of all scores
    q, k, v = (each.flatten(2).transpose(1, 2).unsqueeze(1).contiguous() for each in (query, key, value))
    context = F.scaled_dot_product_attention(q, k, v, scale=scale)  # [B, 1, h * w, C]
    return in_layout_of(context.squeeze(1).transpose(1, 2).unflatten(2, query.shape[-2:]), query)


def attend_in_groups(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute scaled dot-product attention within many small groups of tokens.

    Where a gradient is needed on the CPU, it is two batched products with the softmax between them, whose backward pass
    is faster for small groups than that of PyTorch's fused kernel.

    Parameters
    ----------
    query, key, value : Tensor
        [G, N, D], [G, N, D] and [G, N, C].

    Returns
    -------
    Tensor
        softmax(query keyᵀ / √D) value, [G, N, C].
    """
    if query.device.type != "cpu" or not (torch.is_grad_enabled() and query.requires_grad):
        q, k, v = (each.unsqueeze(1) for each in (query, key, value))  # with heads, PyTorch takes its fused kernels
        return F.scaled_dot_product_attention(q, k, v).squeeze(1)
    scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2))
    return torch.bmm(scores.softmax(dim=2), value)


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, dropout: float = 0.0) -> Tensor:
    """Compute scaled dot-product attention with an additive bias.

    On the CPU torch has no fused kernel for a bias that requires a gradient; its fallback keeps scaled copies of
    queries and keys for the backward pass. This one keeps none.

    Parameters
    ----------
    query : Tensor
        [B, H, N, C].
    key, value : Tensor
        [B, H, M, C].
    bias : Tensor
        [1 or B, H, N, M], added to the scaled scores before the softmax; may be learned.
    dropout : float
        Probability of dropping an attention weight.

    Returns
    -------
    Tensor
        softmax(query keyᵀ / √C + bias) value, [B, H, N, C].
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
