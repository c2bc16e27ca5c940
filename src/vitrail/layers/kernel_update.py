"""Updates of the kernels that tell classes apart, by what the pixels of each class look like (K-Net)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelGate(nn.Module):
    """Adaptive kernel update: a gated sum of kernels and of the features assembled for them.

    Parameters
    ----------
    channels : int
        Channels that are updated together; kernels with several times as many are updated in parts of this width.

    References
    ----------
    Zhang et al., "K-Net: Towards Unified Image Segmentation", NeurIPS 2021, arXiv:2106.14855, equations 4 and 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.feature_layer = nn.Linear(channels, 2 * channels)
        self.kernel_layer = nn.Linear(channels, 2 * channels)
        self.kernel_gate = nn.Linear(channels, channels)
        self.feature_gate = nn.Linear(channels, channels)
        self.feature_gate_norm = nn.LayerNorm(channels)
        self.feature_norm = nn.LayerNorm(channels)
        self.kernel_gate_norm = nn.LayerNorm(channels)
        self.kernel_norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, channels)
        self.out_norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, kernels: Tensor) -> Tensor:
        """Update kernels [B, K, C] by the features [B, K, C] assembled for them."""
        parts = (-1, self.channels)
        feature_in, feature = self.feature_layer(features.unflatten(2, parts)).chunk(2, dim=-1)
        kernel_in, kernel = self.kernel_layer(kernels.unflatten(2, parts)).chunk(2, dim=-1)
        both = kernel_in * feature_in
        kernel_gate = self.kernel_gate_norm(self.kernel_gate(both)).sigmoid()
        feature_gate = self.feature_gate_norm(self.feature_gate(both)).sigmoid()
        updated = feature_gate * self.feature_norm(feature) + kernel_gate * self.kernel_norm(kernel)
        return self.out_norm(self.out(updated)).relu().flatten(2)


class KernelUpdate(nn.Module):
    """One update: features assembled by the masks, gated into the kernels, which then attend to each other.

    Parameters
    ----------
    channels : int
        Channels of the map and of the kernels.
    gate_channels : int
        See `KernelGate`; divides `channels`.
    num_heads : int
        Attention heads.
    feedforward_channels : int
        Hidden channels of the MLP.
    dropout : float
        Of the attention weights and in the MLP.
    """

    def __init__(
        self, channels: int, *, gate_channels: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, 1)
        self.gate = KernelGate(gate_channels)
        self.attn = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.attn_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.mask = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.LayerNorm(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, pixels: Tensor, kernels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return new kernels [B, K, C] and the logits [B, K, h, w] that they give.

        `pixels` is the map [B, C, h, w]; `kernels` and `logits` are those of the update before.
        """
        pixels = self.transform(pixels)
        assembled = torch.einsum("bkhw,bchw->bkc", logits.softmax(dim=1), pixels)
        x = self.gate(assembled, kernels)
        x = self.attn_norm(x + self.dropout(self.attn(x, x, x, need_weights=False)[0]))
        x = self.mlp_norm(x + self.dropout(self.fc2(self.dropout(self.fc1(x).relu()))))
        return x, torch.einsum("bkc,bchw->bkhw", self.mask(x), pixels)
