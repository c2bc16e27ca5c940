"""Multi-scale deformable attention and its encoder (Deformable DETR), in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.position_encoding import sine_position_encoding

Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Attention that reads a few sampled positions of every feature map: where they are and what they weigh is learned.

    Parameters
    ----------
    channels : int
        C, the channels of queries and maps; a multiple of `num_heads`.
    num_levels : int
        L, the number of maps.
    num_heads : int
        M, the number of heads.
    num_points : int
        P, the number of positions that each head reads in each map.

    References
    ----------
    Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021, arXiv:2010.04159,
    equation 3.
    """

    def __init__(self, channels: int, num_levels: int, num_heads: int, num_points: int = 4) -> None:
        super().__init__()
        self.shape = (num_heads, num_levels, num_points)
        self.offsets = nn.Linear(channels, 2 * math.prod(self.shape))
        self.weights = nn.Linear(channels, math.prod(self.shape))
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let the heads look in directions evenly round the query, at 1 to P pixels' distance, with equal weights."""
        heads, levels, points = self.shape
        angles = torch.arange(heads) * (2 * math.pi / heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        distances = torch.arange(1, points + 1)[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_((directions[:, None, None] * distances).expand(-1, levels, -1, -1).flatten())
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.weights, self.value, self.project):
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.project):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, queries: Tensor, centres: Tensor, maps: Tensor, sizes: Sizes) -> Tensor:
        """Return [B, N, C] for each query: what it reads around its centre, projected.

        Parameters
        ----------
        queries : Tensor
            [B, N, C].
        centres : Tensor
            Positions [N, 2] of the queries: (x, y) from 0 to 1, edge to edge of the maps.
        maps : Tensor
            The maps [B, Σ h·w, C], flattened and one after the other.
        sizes : sequence of (int, int)
            The size (h, w) of each map.
        """
        batch, count, _ = queries.shape
        heads, levels, points = self.shape
        offsets = self.offsets(queries).view(batch, count, heads, levels, points, 2)
        weights = self.weights(queries).view(batch, count, heads, levels * points).softmax(-1)
        weights = weights.view(batch, count, heads, levels, points).transpose(1, 2).flatten(0, 1)  # [B·M, N, L, P]
        values = self.value(maps).unflatten(-1, (heads, -1)).permute(0, 2, 3, 1).flatten(0, 1)  # [B·M, C / M, Σ h·w]
        read = torch.zeros_like(values[..., :1])
        for level, (size, value) in enumerate(zip(sizes, values.split([h * w for h, w in sizes], dim=-1), strict=True)):
            grid = _sampling_grid(centres, offsets[:, :, :, level], size)
            read = read + _read(value.unflatten(-1, size), grid, weights[:, :, level])
        return self.project(read.view(batch, -1, count).transpose(1, 2))


def _sampling_grid(centres: Tensor, offsets: Tensor, size: tuple[int, int]) -> Tensor:
    """Return positions [B·M, N, P, 2] from -1 to 1, for offsets [B, N, M, P, 2] in pixels of a map of this size.

    They are at least float32: half-precision coordinates would be off by whole pixels.
    """
    dtype = torch.promote_types(offsets.dtype, torch.float32)
    height, width = size
    x = centres[:, None, None, 0] + offsets[..., 0].to(dtype) / width
    y = centres[:, None, None, 1] + offsets[..., 1].to(dtype) / height
    return (2 * torch.stack([x, y], -1) - 1).transpose(1, 2).flatten(0, 1)


def _read(value: Tensor, grid: Tensor, weights: Tensor) -> Tensor:
    """Return [B·M, D, N]: a map [B·M, D, h, w] at positions [B·M, N, P, 2], 0 outside, weighted by [B·M, N, P]."""
    sampled = F.grid_sample(value.to(grid.dtype), grid, align_corners=False)  # [B·M, D, N, P]
    return (sampled * weights.unsqueeze(1)).sum(-1).to(value.dtype)


class DeformableEncoderLayer(nn.Module):
    """One encoder layer: deformable attention of all maps' pixels to all maps, and an MLP (post-norm, residual).

    Parameters
    ----------
    channels, num_levels, num_heads
        See `DeformableAttention`.
    feedforward_channels : int
        Hidden channels of the MLP.
    dropout : float
        Dropout probability of the two residual branches.
    """

    def __init__(
        self, channels: int, num_levels: int, num_heads: int, feedforward_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.attn = DeformableAttention(channels, num_levels, num_heads)
        self.fc1 = nn.Linear(channels, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, centres: Tensor, sizes: Sizes) -> Tensor:
        """Return updated maps [B, Σ h·w, C], given their position encodings [1, Σ h·w, C] and centres [Σ h·w, 2]."""
        x = self.norm1(x + self.dropout(self.attn(x + position, centres, x, sizes)))
        return self.norm2(x + self.dropout(self.fc2(self.dropout(self.fc1(x).relu()))))


class DeformableEncoder(nn.Module):
    """A stack of encoder layers over several feature maps.

    Parameters
    ----------
    channels, num_levels, num_heads, feedforward_channels, dropout
        See `DeformableEncoderLayer`.
    num_layers : int
        Number of layers.
    """

    def __init__(
        self,
        channels: int,
        num_levels: int,
        *,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.level_embedding = nn.Parameter(torch.empty(num_levels, channels).normal_())
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(channels, num_levels, num_heads, feedforward_channels, dropout)
            for _ in range(num_layers)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps [B, C, h, w], each informed by all of them."""
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        positions = [
            sine_position_encoding(*size, x.shape[1], like=x) + level[:, None, None]
            for size, x, level in zip(sizes, maps, self.level_embedding, strict=True)
        ]
        centres = torch.cat([pixel_centres(*size, like=maps[0]) for size in sizes])
        x, position = _flatten(maps), _flatten(positions)
        for layer in self.layers:
            x = layer(x, position, centres, sizes)
        parts = x.transpose(1, 2).split([height * width for height, width in sizes], dim=-1)
        return [part.unflatten(-1, size) for part, size in zip(parts, sizes, strict=True)]


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return the centres (x, y) of a map's pixels, [height·width, 2], from 0 to 1, edge to edge; at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    y = (torch.arange(height, device=like.device, dtype=dtype) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=dtype) + 0.5) / width
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).flatten(0, 1)


def _flatten(maps: Sequence[Tensor]) -> Tensor:
    """Return maps [B, C, h, w] as vectors [B, Σ h·w, C]."""
    return torch.cat([x.flatten(2) for x in maps], -1).transpose(1, 2)
