"""Twins: alternating window attention and attention to a downsampled map (SVT), or the latter alone (PCPVT).

timm's modules and weights, computed as in the published segmentation models at any size: maps are padded at the bottom
and right to whole patches and windows, and every stage of SVT ends with a layer norm.

References
----------
X. Chu et al., "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", NeurIPS 2021,
arXiv:2104.13840.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.twins import LocallyGroupedAttn
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.timm_bridge import TimmBackbone, register_family
from vitrail.backbones.timm_model import build_model
from vitrail.backbones.windows import ceil_divide, from_windows, pad_to_multiple, to_windows
from vitrail.layers.layout import in_layout_of
from vitrail.layers.resize import is_variable

_MASKED = -1000.0  # added to the attention scores of positions and padding, as in the published models
_LEVELS = (0, 1, 2, 3)


class Twins(TimmBackbone):
    """Twins; see `twins`."""

    def __init__(self, model: Any, *, norm_stages: bool, norm_eps: float) -> None:
        super().__init__(model, _LEVELS)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = norm_eps
        if norm_stages:
            self.norms = nn.ModuleList(nn.LayerNorm(channels, eps=norm_eps) for channels in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into four maps at strides 4, 8, 16 and 32, sizes rounded up."""
        net = self.encoder
        x, maps = images, list[Tensor]()
        for embed, drop, blocks, position, norm in zip(
            net.patch_embeds, net.pos_drops, net.blocks, net.pos_block, self.norms, strict=True
        ):
            x = embed.proj(pad_to_multiple(x, embed.patch_size, dims=(2, 3))).permute(0, 2, 3, 1)
            x = drop(embed.norm(x))  # [B, h, w, C]
            for index, block in enumerate(blocks):
                x = self._through([partial(_block, block)], x)
                if index == 0:
                    x = x + position.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = norm(x).permute(0, 3, 1, 2)
            maps.append(in_layout_of(x, images))  # channels_last here, in which heads train slowly on a CPU
        return maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between blocks are stored, the others are recomputed."""
        self.grad_checkpointing = enable


def _block(block: Any, x: Tensor) -> Tensor:
    """Residual attention and MLP: [B, h, w, C] to the same shape."""
    attend = _local_attention if isinstance(block.attn, LocallyGroupedAttn) else _global_attention
    x = x + block.drop_path1(attend(block.attn, block.norm1(x)))
    return x + block.drop_path2(block.mlp(block.norm2(x)))


def _global_attention(attention: Any, x: Tensor) -> Tensor:
    context = x
    if attention.sr is not None:
        context = attention.norm(attention.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    heads = attention.num_heads
    query = attention.q(x).flatten(1, 2).unflatten(-1, (heads, -1)).transpose(1, 2)
    key, value = attention.kv(context).flatten(1, 2).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    dropout = attention.attn_drop.p if attention.training else 0.0
    out = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return attention.proj_drop(attention.proj(out.transpose(1, 2).reshape(x.shape)))


def _local_attention(attention: Any, x: Tensor) -> Tensor:
    height, width = x.shape[1:3]
    window = (attention.ws, attention.ws)
    padded = pad_to_multiple(x, window, dims=(1, 2))
    size = padded.shape[1:3]
    windows = to_windows(padded, window)  # [B, n, N, C]
    count, heads = windows.shape[1], attention.num_heads
    # [B, n, N, 3 C] -> 3 of [B, n heads, N, C / heads]
    qkv = attention.qkv(windows).unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
    query, key, value = qkv.unbind(0)
    mask = _padding_mask((height, width), size, window, x.device)
    if mask is not None:
        mask = mask.repeat_interleave(heads, dim=0).to(query.dtype)
    dropout = attention.attn_drop.p if attention.training else 0.0
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    out = out.unflatten(1, (count, heads)).transpose(2, 3).flatten(3)
    out = from_windows(out, window, size)[:, :height, :width]
    return attention.proj_drop(attention.proj(out))


def _padding_mask(
    size: tuple[int, int], padded: torch.Size, window: tuple[int, int], device: torch.device
) -> Tensor | None:
    """Return the mask [n, N, N] that separates positions from padding, or None.

    The published models mask padding only where both height and width are padded, and were trained so.
    """
    # 0 or 1; in a program for any size it is variable
    both = ceil_divide(padded[0] - size[0], window[0]) * ceil_divide(padded[1] - size[1], window[1])
    if not is_variable((both,)) and not both:
        return None
    below = torch.arange(padded[0], device=device) >= size[0]
    beside = torch.arange(padded[1], device=device) >= size[1]
    outside = torch.logical_or(below[:, None], beside)
    positions = to_windows(outside[None, :, :, None], window)[0, :, :, 0]  # [n, N]
    return torch.where(positions[:, None] == positions[:, :, None], 0.0, _MASKED) * both


@register_family("twins")
def twins(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    in_channels: int = 3,
    drop_path_rate: float | None = None,
    norm_stages: bool | None = None,
    norm_eps: float = 1e-5,
) -> Backbone:
    """Build a Twins transformer (arXiv:2104.13840): four maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    name : str
        timm's name, such as "twins_svt_small" or "twins_pcpvt_small".
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    norm_stages : bool, optional
        End every stage with a layer norm. None does so for SVT and not for PCPVT, as MMSegmentation and
        SSSegmentation do.
    norm_eps : float
        Of all layer norms: 1e-5 in MMSegmentation and SSSegmentation, 1e-6 for most in timm and the authors' code.
    """
    model = build_model(name, pretrained=pretrained, in_chans=in_channels, drop_path_rate=drop_path_rate)
    wanted = name.startswith("twins_svt") if norm_stages is None else norm_stages
    return Twins(model, norm_stages=wanted, norm_eps=norm_eps)
