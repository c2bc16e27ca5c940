"""MiT, the encoder of SegFormer: overlapping patches, attention to a downsampled map, positions from convolutions.

References
----------
E. Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS 2021,
arXiv:2105.15203.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.weights import load_local
from vitrail.layers.resize import is_exporting

_HEADS = (1, 2, 5, 8)
_SHRINK = (8, 4, 2, 1)
_EPS = 1e-6


class OverlapEmbedding(nn.Module):
    """A strided convolution and a layer norm: [B, C, h, w] to [B, h / s, w / s, D]."""

    def __init__(self, in_channels: int, channels: int, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Embed a map [B, C, h, w] into [B, h / s, w / s, D]."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class ShrunkenAttention(nn.Module):
    """Attention with keys and values from a map downsampled by `shrink` in both directions."""

    def __init__(self, channels: int, num_heads: int, shrink: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.shrink = nn.Conv2d(channels, channels, shrink, shrink) if shrink > 1 else None
        self.norm = nn.LayerNorm(channels, eps=_EPS) if shrink > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, h, w, C] to the same shape."""
        batch, height, width, channels = x.shape
        context = x
        if self.shrink is not None and self.norm is not None:
            context = self.norm(self.shrink(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        weight, bias = self.qkv.weight, self.qkv.bias
        query = F.linear(x, weight[:channels], bias[:channels])
        key, value = F.linear(context, weight[channels:], bias[channels:]).chunk(2, dim=-1)
        out = F.scaled_dot_product_attention(self._heads(query), self._heads(key), self._heads(value))
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))

    def _heads(self, x: Tensor) -> Tensor:
        """Split [B, h, w, C] into [B, heads, h w, C / heads]."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """MLP with a depthwise convolution inside, which encodes positions (Mix-FFN, arXiv:2105.15203, equation 3)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.fc2 = nn.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, h, w, C] to the same shape."""
        if is_exporting():  # runtimes would bring the wide map from one memory layout to another, and back
            mixed = F.gelu(self.conv(_pointwise(x.permute(0, 3, 1, 2), self.fc1)))
            return _pointwise(mixed, self.fc2).permute(0, 2, 3, 1)
        mixed = self.conv(self.fc1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.fc2(F.gelu(mixed))


def _pointwise(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer to each position of [B, C, h, w]; returns [B, D, h, w]."""
    return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)


class Block(nn.Module):
    """Residual attention and MLP."""

    def __init__(self, channels: int, num_heads: int, shrink: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=_EPS)
        self.attn = ShrunkenAttention(channels, num_heads, shrink)
        self.norm2 = nn.LayerNorm(channels, eps=_EPS)
        self.mlp = MixFFN(channels, 4 * channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, h, w, C] to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """One stage: patch embedding, blocks, and the layer norm of the returned map."""

    def __init__(self, embed: OverlapEmbedding, blocks: Sequence[Block], channels: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(channels, eps=_EPS)


class MixTransformer(Backbone):
    """Mix transformer; see `mit_b0`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    width : int
        Channels of one attention head.
    depths : sequence of int
        Blocks of each stage.
    drop_path_rate : float
        Probability that the last block is skipped; earlier blocks have proportionally less.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, in_channels: int, width: int, depths: Sequence[int], drop_path_rate: float) -> None:
        super().__init__()
        self.channels = tuple(width * heads for heads in _HEADS)
        self.depths = tuple(depths)
        rates = iter(drop_path_rate * block / (sum(depths) - 1) for block in range(sum(depths)))
        stages = []
        for index, depth in enumerate(depths):
            channels = self.channels[index]
            embed = OverlapEmbedding(
                self.channels[index - 1] if index else in_channels,
                channels,
                kernel_size=3 if index else 7,
                stride=2 if index else 4,
            )
            blocks = [Block(channels, _HEADS[index], _SHRINK[index], next(rates)) for _ in range(depth)]
            stages.append(Stage(embed, blocks, channels))
        self.stages = nn.ModuleList(stages)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into four maps at strides 4, 8, 16 and 32."""
        x, maps = images, list[Tensor]()
        for stage in cast("list[Stage]", self.stages):
            x = stage.norm(self._through(stage.blocks, stage.embed(x))).permute(0, 3, 1, 2)
            maps.append(x)
        return maps

    def parameter_stages(self) -> dict[str, int]:
        """Return the stage of each parameter by name; the first embedding counts as the stem."""
        return {
            name: 0 if name.startswith("stages.0.embed.") else int(name.split(".")[1]) + 1
            for name, _ in self.named_parameters()
        }

    def parameter_depths(self) -> dict[str, int]:
        """Return the depth of each parameter by name, one step per block."""
        before = [sum(self.depths[:index]) for index in range(len(self.depths))]
        depths = {}
        for name, _ in self.named_parameters():
            _, stage, part, *rest = name.split(".")
            offset = {"embed": 0, "norm": self.depths[int(stage)]}.get(part)
            depths[name] = before[int(stage)] + (int(rest[0]) + 1 if offset is None else offset)
        return depths


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _build(
    name: str,
    width: int,
    depths: Sequence[int],
    pretrained: bool | str | Path,
    in_channels: int,
    drop_path_rate: float,
) -> Backbone:
    backbone = MixTransformer(in_channels, width, depths, drop_path_rate)
    load_local(backbone, name, pretrained)
    return backbone


@register_backbone("mit_b0")
def mit_b0(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B0 (arXiv:2105.15203): maps of 32, 64, 160 and 256 channels at strides 4, 8, 16 and 32.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    drop_path_rate : float
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    """
    return _build("mit_b0", 32, (2, 2, 2, 2), pretrained, in_channels, drop_path_rate)


@register_backbone("mit_b1")
def mit_b1(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B1: maps of 64, 128, 320 and 512 channels; the arguments are those of `mit_b0`."""
    return _build("mit_b1", 64, (2, 2, 2, 2), pretrained, in_channels, drop_path_rate)


@register_backbone("mit_b2")
def mit_b2(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B2: maps of 64, 128, 320 and 512 channels; the arguments are those of `mit_b0`."""
    return _build("mit_b2", 64, (3, 4, 6, 3), pretrained, in_channels, drop_path_rate)


@register_backbone("mit_b3")
def mit_b3(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B3: maps of 64, 128, 320 and 512 channels; the arguments are those of `mit_b0`."""
    return _build("mit_b3", 64, (3, 4, 18, 3), pretrained, in_channels, drop_path_rate)


@register_backbone("mit_b4")
def mit_b4(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B4: maps of 64, 128, 320 and 512 channels; the arguments are those of `mit_b0`."""
    return _build("mit_b4", 64, (3, 8, 27, 3), pretrained, in_channels, drop_path_rate)


@register_backbone("mit_b5")
def mit_b5(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MiT-B5: maps of 64, 128, 320 and 512 channels; the arguments are those of `mit_b0`."""
    return _build("mit_b5", 64, (3, 6, 40, 3), pretrained, in_channels, drop_path_rate)
