"""BEiT: plain vision transformers with relative position bias.

timm's modules and weights at any image size: the relative position bias table is interpolated to the size of the patch
grid. Rows and columns beyond the last whole patch are dropped, as in the published models.

References
----------
H. Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, arXiv:2106.08254.
K. He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377.
Z. Peng et al., "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers", 2022, arXiv:2208.06366.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.layers import gen_relative_position_index
from torch import Tensor
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.timm_bridge import register_family
from vitrail.backbones.timm_model import build_model, chosen_levels
from vitrail.backbones.vit import PlainTransformer, interpolate_positions, make_neck, set_norm_eps
from vitrail.errors import ModelError
from vitrail.layers.attention import biased_attention
from vitrail.layers.resize import is_variable

# Blocks whose outputs the authors' segmentation models use, by depth.
_TAPS = {12: (3, 5, 7, 11), 24: (7, 11, 15, 23)}
_PREFIXED = 3  # rows at the end of a table: class token to patch, patch to class token, class token to itself


class BEiT(PlainTransformer):
    """BEiT; see `beit`."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps at the patch stride (or at strides 4, 8, 16, 32 with a pyramid)."""
        net = self.encoder
        x = net.patch_embed.proj(images)
        grid = (x.shape[2], x.shape[3])
        x = torch.cat([net.cls_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        index = gen_relative_position_index(grid, class_token=True, device=x.device)
        if net.pos_embed is not None:
            laid_out = tuple(net.patch_embed.grid_size)
            x = x + torch.cat(
                [net.pos_embed[:, :1], interpolate_positions(net.pos_embed[:, 1:], laid_out, grid)], dim=1
            )
        x = net.pos_drop(x)
        maps = []
        for number, block in enumerate(net.blocks):
            x = self._through([partial(_block, block, index, grid)], x)
            if number in self.indices:
                maps.append(self._to_map(x, grid))
        return self._finish(maps)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between blocks are stored, the others are recomputed."""
        self.grad_checkpointing = enable


def _block(block: Any, index: Tensor, grid: tuple[int, int], x: Tensor) -> Tensor:
    """Residual attention and MLP with layer scale: [B, N, C] to the same shape."""
    attended = _attention(block.attn, block.norm1(x), index, grid)
    x = x + block.drop_path1(attended if block.gamma_1 is None else block.gamma_1 * attended)
    changed = block.mlp(block.norm2(x))
    return x + block.drop_path2(changed if block.gamma_2 is None else block.gamma_2 * changed)


def _attention(attention: Any, x: Tensor, index: Tensor, grid: tuple[int, int]) -> Tensor:
    bias = None if attention.q_bias is None else torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    qkv = F.linear(x, attention.qkv.weight, bias).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, N, C / heads]
    table = _resized(attention.relative_position_bias_table, tuple(attention.window_size), grid)
    scores = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)[None].to(query.dtype)
    dropout = attention.attn_drop.p if attention.training else 0.0
    out = biased_attention(query, key, value, scores, dropout=dropout)
    return attention.proj_drop(attention.proj(out.transpose(1, 2).flatten(2)))


def _resized(table: Tensor, laid_out: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Interpolate a bias table [distances + 3, heads] from one patch grid to another."""
    if not is_variable(grid) and laid_out == grid:
        return table
    distances = table[:-_PREFIXED].T.unflatten(1, (2 * laid_out[0] - 1, 2 * laid_out[1] - 1))[None]
    size = (2 * grid[0] - 1, 2 * grid[1] - 1)
    resized = F.interpolate(distances, size=size, mode="bilinear", align_corners=False)
    return torch.cat([resized[0].flatten(1).T, table[-_PREFIXED:]])


@register_family("beit")
def beit(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    img_size: int | tuple[int, int] | None = None,
    layer_norm_eps: float | None = None,
    drop_path_rate: float | None = None,
    pyramid: bool = False,
    neck_channels: int | None = None,
) -> Backbone:
    """Build a BEiT (arXiv:2106.08254): four maps at the patch stride, or a pyramid of four strides.

    Parameters
    ----------
    name : str
        timm's name, such as "beit_base_patch16_224".
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names; its tables are
        brought to `img_size` by geometric interpolation, as the authors do.
    in_channels : int
        Channels of the images.
    out_indices : sequence of int, optional
        Blocks whose outputs are returned. None takes those of the authors: (3, 5, 7, 11) of 12, (7, 11, 15, 23) of 24.
    img_size : int or (int, int), optional
        The size that the tables of relative positions are laid out for; any other size still works.
    layer_norm_eps : float, optional
        Epsilon of the layer norms, where it is another one than timm's 1e-6.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    pyramid : bool
        Turn the maps into strides 4, 8, 16 and 32 (for patches of 16) with transposed convolutions, as the authors do.
    neck_channels : int, optional
        Do so by projecting to this many channels and resizing instead.
    """
    model = build_model(
        name, pretrained=pretrained, in_chans=in_channels, img_size=img_size, drop_path_rate=drop_path_rate
    )
    set_norm_eps(model, layer_norm_eps)
    indices = chosen_levels(name, model, out_indices or _TAPS.get(len(model.blocks)))
    return BEiT(model, indices, make_neck(name, model, indices, pyramid=pyramid, neck_channels=neck_channels))


@register_backbone("mae_vit_base_patch16")
def mae_vit_base_patch16(
    *,
    pretrained: str | Path | bool = False,
    in_channels: int = 3,
    out_indices: Sequence[int] = (3, 5, 7, 11),
    img_size: int | tuple[int, int] = 512,
    drop_path_rate: float = 0.1,
    pyramid: bool = False,
    neck_channels: int | None = None,
) -> Backbone:
    """ViT-Base as fine-tuned by the authors of MAE (arXiv:2111.06377): BEiT blocks with position embeddings.

    Parameters
    ----------
    pretrained : path, optional
        A local file of timm's parameter names.
    in_channels, out_indices, img_size, drop_path_rate, pyramid, neck_channels
        See `beit`.
    """
    if pretrained is True:
        raise ModelError("no weights of 'mae_vit_base_patch16' can be downloaded: give a local file as pretrained=PATH")
    model = build_model(
        "beit_base_patch16_224",
        pretrained=pretrained,
        in_chans=in_channels,
        img_size=img_size,
        drop_path_rate=drop_path_rate,
        use_abs_pos_emb=True,
        init_values=1.0,
    )
    name = "mae_vit_base_patch16"
    indices = chosen_levels(name, model, out_indices)
    return BEiT(model, indices, make_neck(name, model, indices, pyramid=pyramid, neck_channels=neck_channels))
