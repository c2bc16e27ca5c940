"""Transformer decoder of DETR with learned queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.layers.position_encoding import sine_position_encoding


class DecoderLayer(nn.Module):
    """The parts of one decoder layer: self-attention, cross-attention and an MLP; subclasses put them in order.

    Parameters
    ----------
    channels : int
        Channels of the queries and of the feature map.
    num_heads : int
        Number of attention heads.
    feedforward_channels : int
        Hidden channels of the MLP.
    dropout : float
        Dropout probability of the attention weights and of the three residual branches.
    """

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.fc1 = nn.Linear(channels, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)


class QueryDecoderLayer(DecoderLayer):
    """Self-attention, cross-attention to the feature map and an MLP (post-norm, residual)."""

    def forward(self, x: Tensor, query_position: Tensor, memory: Tensor, memory_key: Tensor) -> Tensor:
        """Return updated queries [B, Q, C], given the map [B, h·w, C] and `memory_key`, the map plus its positions."""
        positioned = x + query_position
        x = self.norm1(x + self.dropout(self.self_attn(positioned, positioned, x, need_weights=False)[0]))
        context = self.cross_attn(x + query_position, memory_key, memory, need_weights=False)[0]
        x = self.norm2(x + self.dropout(context))
        return self.norm3(x + self.dropout(self.fc2(self.dropout(self.fc1(x).relu()))))


class QueryDecoder(nn.Module):
    """A stack of decoder layers that attend to one feature map.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map; a 1×1 convolution projects it unless they equal `channels`.
    channels : int
        Channels of the queries.
    num_queries : int
        Q, the number of learned queries.
    num_layers, num_heads, feedforward_channels, dropout
        See `DecoderLayer`.

    References
    ----------
    Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv:2005.12872.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_queries: int,
        *,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity()
        self.queries = nn.Embedding(num_queries, channels)
        self.layers = nn.ModuleList(
            QueryDecoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.dim() > 1 and parameter is not self.queries.weight:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the normalised queries [B, Q, C] after every layer, for a map [B, in_channels, h, w]."""
        x = self.project(x)
        _, channels, height, width = x.shape
        position = sine_position_encoding(height, width, channels, like=x)
        memory = x.flatten(2).transpose(1, 2)
        memory_key = (x + position).flatten(2).transpose(1, 2)
        query_position = self.queries.weight.expand(x.shape[0], -1, -1)
        queries = torch.zeros_like(query_position)
        states = []
        for layer in self.layers:
            queries = layer(queries, query_position, memory, memory_key)
            states.append(self.norm(queries))
        return states
