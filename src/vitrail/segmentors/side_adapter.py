"""The side adapter of SAN: masks, and where CLIP's attention heads look, from the image and CLIP's maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import LayerNorm2d, trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from vitrail.backbones.vit import interpolate_positions, set_norm_eps
from vitrail.layers import resize
from vitrail.layers.mlp import MLP

PATCH = 16  # side of its patches
_NORM_EPS = 1e-6


class SideAdapter(nn.Module):
    """A small plain transformer over patches and queries, which CLIP's maps are added to.

    Parameters
    ----------
    image_channels : int
        Channels of the images.
    fused_channels : sequence of int
        Channels of CLIP's maps: the first is added before the first block, the others after one block each.
    channels, num_layers, num_heads, num_queries
        Of the transformer.
    mask_channels : int
        Channels of the embeddings whose products are the masks and the attention biases, and inside their MLPs.
    img_size : int
        The side of the images that position embeddings are laid out for.
    bias_heads : int
        Number of attention biases: CLIP's attention heads.
    """

    def __init__(
        self,
        image_channels: int,
        fused_channels: Sequence[int],
        *,
        channels: int,
        num_layers: int,
        num_heads: int,
        num_queries: int,
        mask_channels: int,
        img_size: int,
        bias_heads: int,
    ) -> None:
        super().__init__()
        self.grid = (img_size // PATCH, img_size // PATCH)
        self.bias_heads = bias_heads
        self.patch_embed = nn.Conv2d(image_channels, channels, PATCH, stride=PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], channels))
        self.query_pos_embed = nn.Parameter(torch.zeros(1, num_queries, channels))
        self.query_embed = nn.Parameter(torch.zeros(1, num_queries, channels))
        self.blocks = nn.ModuleList(
            Block(channels, num_heads, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(num_layers)
        )
        self.fuse = nn.ModuleList(
            nn.Sequential(LayerNorm2d(width, eps=_NORM_EPS), nn.Conv2d(width, channels, 1)) for width in fused_channels
        )
        widths = (channels, mask_channels, mask_channels)
        self.query_mlp = MLP((*widths, mask_channels))
        self.pixel_mlp = MLP((*widths, mask_channels))
        self.bias_mlp = MLP((*widths, mask_channels * bias_heads))
        self.bias_scale = nn.Linear(1, 1)
        trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.query_embed, std=0.02)
        nn.init.normal_(self.query_pos_embed, std=0.02)
        set_norm_eps(self.blocks, _NORM_EPS)
        for module in self.fuse.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, maps: Sequence[Tensor], after: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return masks [B, Q, h, w] and attention biases [B, heads, Q, h, w] after these blocks and after the last.

        Parameters
        ----------
        image : Tensor
            [B, 3, 16 h, 16 w].
        maps : sequence of Tensor
            CLIP's maps [B, C, h', w'].
        after : sequence of int
            Numbers of blocks, from 1.
        """
        x = self.patch_embed(image)
        grid = (x.shape[-2], x.shape[-1])
        positions = torch.cat([self.query_pos_embed, interpolate_positions(self.pos_embed, self.grid, grid)], dim=1)
        queries = self.query_embed.expand(x.shape[0], -1, -1).to(x.dtype)
        tokens = torch.cat([queries, x.flatten(2).transpose(1, 2)], dim=1) + positions
        tokens = self._fused(tokens, maps, 0, grid)
        found = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = self._fused(block(tokens), maps, number, grid)
            if number in after or number == len(self.blocks):
                found.append(self._decode(tokens, grid))
            if number < len(self.blocks):
                tokens = tokens + positions
        return found

    def _fused(self, tokens: Tensor, maps: Sequence[Tensor], number: int, grid: tuple[int, int]) -> Tensor:
        if number >= len(self.fuse):
            return tokens
        added = resize(self.fuse[number](maps[number]), grid).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, : -added.shape[1]], tokens[:, -added.shape[1] :] + added], dim=1)

    def _decode(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        count = self.query_embed.shape[1]
        queries, patches = self.query_mlp(tokens[:, :count]), tokens[:, count:]
        masks = queries @ self.pixel_mlp(patches).transpose(1, 2)  # [B, Q, h w]
        pixels = self.bias_mlp(patches).unflatten(2, (self.bias_heads, -1)).permute(0, 2, 3, 1)  # [B, heads, C, h w]
        biases = self.bias_scale((queries.unsqueeze(1) @ pixels).unsqueeze(-1)).squeeze(-1)
        return masks.unflatten(2, grid), biases.unflatten(3, grid)
