"""Swin transformer: window attention with shifted windows.

timm's modules and weights, computed as in the published segmentation models at any size: the image and every map are
padded at the bottom and right to whole windows; every second block shifts, even where one window covers the map; a
layer norm is applied to every returned map.

References
----------
Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, arXiv:2103.14030.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.timm_bridge import TimmBackbone, register_family
from vitrail.backbones.timm_model import build_model, chosen_levels
from vitrail.backbones.windows import from_windows, pad_to_multiple, padded, to_windows
from vitrail.layers.attention import biased_attention
from vitrail.layers.layout import in_layout_of

_MASKED = -100.0  # added to the attention scores of pairs from different regions, as in the published models
_NORM_EPS = 1e-5


class Swin(TimmBackbone):
    """Swin transformer; see `swin`."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps at strides 4, 8, 16 and 32, sizes rounded up."""
        net = self.encoder
        x = net.patch_embed.proj(pad_to_multiple(images, net.patch_embed.patch_size, dims=(2, 3))).permute(0, 2, 3, 1)
        x = net.patch_embed.norm(x)  # [B, h, w, C]
        maps: list[Tensor] = []
        for index, stage in enumerate(net.layers):
            if index > self.indices[-1]:
                break
            x = self._stage(stage, stage.downsample(x))
            if index in self.indices:
                # the map is channels_last here, in which heads train slowly on a CPU
                maps.append(in_layout_of(self.norms[len(maps)](x.permute(0, 3, 1, 2)), images))
        return maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between blocks are stored, the others are recomputed."""
        self.grad_checkpointing = enable

    def _stage(self, stage: Any, x: Tensor) -> Tensor:
        mask: Tensor | None = None
        for block in stage.blocks:
            if any(block.shift_size) and mask is None:
                mask = _shift_mask(x, block.window_size, block.shift_size)
            x = self._through([partial(_block, block, mask if any(block.shift_size) else None)], x)
        return x


def _block(block: Any, mask: Tensor | None, x: Tensor) -> Tensor:
    """Residual window attention and MLP: [B, h, w, C] to the same shape."""
    x = x + block.drop_path1(_window_attention(block, block.norm1(x), mask))
    return x + block.drop_path2(block.mlp(block.norm2(x)))


def _window_attention(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    batch, height, width = x.shape[:3]
    window, shift, attention = block.window_size, block.shift_size, block.attn
    x = pad_to_multiple(x, window, dims=(1, 2))
    size = x.shape[1:3]
    if any(shift):
        x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    x = to_windows(x, window)  # [B, n, N, C] for n windows of N positions
    count, area, heads = x.shape[1], x.shape[2], attention.num_heads
    # [B, n, N, 3 C] -> 3 of [B, n heads, N, C / heads]
    qkv = attention.qkv(x).view(batch, count, area, 3, heads, -1).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
    scores = attention._get_rel_pos_bias()  # [1, heads, N, N]
    if mask is not None:
        scores = (scores + mask[:, None]).flatten(0, 1)[None]  # [1, n heads, N, N]
    else:
        scores = scores.expand(count, -1, -1, -1).flatten(0, 1)[None]
    dropout = attention.attn_drop.p if block.training else 0.0
    query, key, value = qkv.unbind(0)
    x = biased_attention(query, key, value, scores.to(query.dtype), dropout=dropout)
    x = x.view(batch, count, heads, area, -1).transpose(2, 3).reshape(batch, count, area, -1)
    x = from_windows(attention.proj_drop(attention.proj(x)), window, size)
    if any(shift):
        x = torch.roll(x, shifts=shift, dims=(1, 2))
    return x[:, :height, :width]


def _shift_mask(x: Tensor, window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """Return [n, N, N]: 0 for two positions of a window from the same region before the shift, else `_MASKED`."""
    height, width = map(padded, x.shape[1:3], window)
    region = 3 * _parts(height, window[0], shift[0], x.device)[:, None] + _parts(width, window[1], shift[1], x.device)
    regions = to_windows(region[None, :, :, None], window)[0, :, :, 0]  # [n, N]
    return torch.where(regions[:, None] == regions[:, :, None], 0.0, _MASKED)


def _parts(length: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Label positions along one side by region: 0, then 1 and 2 within the last window."""
    position = torch.arange(length, device=device)
    return (position >= length - window).long() + (position >= length - shift).long()


@register_family("swin_transformer")
def swin(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    in_channels: int = 3,
    out_indices: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    norm_outputs: bool = True,
    img_size: int | tuple[int, int] | None = None,
) -> Backbone:
    """Build a Swin transformer (arXiv:2103.14030): four maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    name : str
        timm's name, such as "swin_tiny_patch4_window7_224".
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    out_indices : sequence of int, optional
        Stages to return, 0 to 3; None returns all.
    drop_path_rate : float, optional
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    norm_outputs : bool
        Apply a layer norm to every map, as MMSegmentation and SSSegmentation do.
    img_size : int or (int, int), optional
        Compute it as timm does, with windows laid out for images of this size: maps are shifted before they are padded,
        and not at all where one window covers them; any other size still works. None computes it as the published
        segmentation models do.
    """
    layout: dict[str, Any] = {"always_partition": True} if img_size is None else {"img_size": img_size}
    model = build_model(
        name,
        pretrained=pretrained,
        in_chans=in_channels,
        drop_path_rate=drop_path_rate,
        strict_img_size=False,
        **layout,
    )
    indices = chosen_levels(name, model, out_indices)
    norm_eps = _NORM_EPS if norm_outputs else None
    if img_size is None:
        return Swin(model, indices, norm_eps=norm_eps)
    return TimmBackbone(model, indices, norm_eps=norm_eps, multiple=model.patch_embed.patch_size[0])
