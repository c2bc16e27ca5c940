"""Transformer decoder of Mask2Former: queries that attend only to where their masks are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.layers.mlp import MLP
from vitrail.layers.position_encoding import sine_position_encoding
from vitrail.layers.query_decoder import DecoderLayer
from vitrail.layers.resize import resize


class MaskedQueryDecoderLayer(DecoderLayer):
    """Masked cross-attention to a map, self-attention, and an MLP (post-norm, residual)."""

    def forward(self, x: Tensor, query_position: Tensor, memory: Tensor, memory_key: Tensor, blocked: Tensor) -> Tensor:
        """Return updated queries [B, Q, C].

        Parameters
        ----------
        x, query_position : Tensor
            The queries and their position encodings, [B, Q, C].
        memory, memory_key : Tensor
            The map [B, h·w, C], and the map plus its positions.
        blocked : Tensor
            bool [B, Q, h·w], True where a query must not attend.
        """
        of_heads = blocked.repeat_interleave(self.cross_attn.num_heads, dim=0)
        context = self.cross_attn(x + query_position, memory_key, memory, attn_mask=of_heads, need_weights=False)[0]
        x = self.norm1(x + self.dropout(context))
        positioned = x + query_position
        x = self.norm2(x + self.dropout(self.self_attn(positioned, positioned, x, need_weights=False)[0]))
        return self.norm3(x + self.dropout(self.fc2(self.dropout(self.fc1(x).relu()))))


class MaskedQueryDecoder(nn.Module):
    """A stack of decoder layers that attend to several feature maps in turn, each within the masks predicted before it.

    Parameters
    ----------
    in_channels : int
        Channels of the feature maps; 1×1 convolutions project them unless they equal `channels`.
    channels : int
        Channels of the queries.
    mask_channels : int
        Channels of the pixel and mask embeddings, whose products are the masks.
    num_queries : int
        Q, the number of learned queries.
    num_levels : int
        Number of feature maps.
    num_layers, num_heads, feedforward_channels, dropout
        See `DecoderLayer`.
    learned_queries : bool
        Whether the queries start as learned vectors, or as those that `forward` is given.

    References
    ----------
    Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, arXiv:2112.01527,
    section 3.2.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        mask_channels: int,
        num_queries: int,
        num_levels: int,
        *,
        num_layers: int = 9,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.0,
        learned_queries: bool = True,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity() for _ in range(num_levels)
        )
        if learned_queries:
            self.queries = nn.Embedding(num_queries, channels)
        self.query_position = nn.Embedding(num_queries, channels)
        self.level_embedding = nn.Embedding(num_levels, channels)
        self.layers = nn.ModuleList(
            MaskedQueryDecoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.mask_mlp = MLP((channels, channels, channels, mask_channels))
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, maps: Sequence[Tensor], pixels: Tensor, queries: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the queries [B, Q, C] and their mask embeddings [B, Q, D], before the first layer and after each.

        Parameters
        ----------
        maps : sequence of Tensor
            The feature maps [B, in_channels, h, w], in the order in which the layers attend to them.
        pixels : Tensor
            The pixel embeddings [B, D, H, W], whose products with the mask embeddings are the masks.
        queries : Tensor, optional
            What the queries [B, Q, C] start from, unless they are learned.
        """
        memories, keys = self._memories(maps)
        # A product of resized pixel embeddings is the resized product, at a fraction of its cost.
        small = [resize(pixels.detach(), x.shape[-2:]).flatten(2) for x in maps]
        query_position = self.query_position.weight.expand(pixels.shape[0], -1, -1)
        if queries is None:
            queries = self.queries.weight.expand(pixels.shape[0], -1, -1)
        states = [self._state(queries)]
        for index, layer in enumerate(self.layers):
            level = index % len(maps)
            blocked = _outside(states[-1][1], small[level])
            queries = layer(queries, query_position, memories[level], keys[level], blocked)
            states.append(self._state(queries))
        return states

    def _memories(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the maps as vectors [B, h·w, C], and the same with their positions added."""
        memories, keys = [], []
        for x, project, level in zip(maps, self.project, self.level_embedding.weight, strict=True):
            memory = project(x) + level[:, None, None]
            position = sine_position_encoding(x.shape[-2], x.shape[-1], memory.shape[1], like=memory)
            memories.append(memory.flatten(2).transpose(1, 2))
            keys.append((memory + position).flatten(2).transpose(1, 2))
        return memories, keys

    def _state(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.norm(queries)
        return normed, self.mask_mlp(normed)


@torch.no_grad()
def _outside(embeddings: Tensor, pixels: Tensor) -> Tensor:
    """Return bool [B, Q, h·w], True outside of each query's mask; one with an empty mask may attend everywhere."""
    outside = (embeddings @ pixels.to(embeddings.dtype)).sigmoid() < 0.5
    return torch.logical_and(outside, torch.logical_not(outside.all(-1, keepdim=True)))
