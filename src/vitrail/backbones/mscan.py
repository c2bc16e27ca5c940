"""MSCAN, the encoder of SegNeXt: attention maps from depthwise convolutions at several scales.

References
----------
M.-H. Guo et al., "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation", NeurIPS 2022,
arXiv:2209.08575.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from timm.layers import DropPath, LayerNorm2d, LayerScale2d
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.weights import load_local

_RATIOS = (8, 8, 4, 4)
_STRIPS = (7, 11, 21)
_SCALE = 1e-2
_EPS = 1e-5


class MultiScaleGate(nn.Module):
    """A map times weights from depthwise convolutions over squares and long strips (arXiv:2209.08575, equation 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, (1, length), padding=(0, length // 2), groups=channels),
                nn.Conv2d(channels, channels, (length, 1), padding=(length // 2, 0), groups=channels),
            )
            for length in _STRIPS
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        weights = local = self.local(x)
        for strip in self.strips:
            weights = weights + strip(local)
        return self.mix(weights) * x


class ConvolutionalAttention(nn.Module):
    """Convolutional attention: the gate between two 1×1 convolutions, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)
        self.act = nn.GELU()
        self.gate = MultiScaleGate(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x + self.out(self.gate(self.act(self.project(x))))


class ConvolutionalMLP(nn.Module):
    """Two 1×1 convolutions with a depthwise convolution between them."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return self.fc2(self.act(self.conv(self.fc1(x))))


class Block(nn.Module):
    """Residual convolutional attention and MLP, each on normalised and scaled maps."""

    def __init__(self, channels: int, ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = ConvolutionalAttention(channels)
        self.scale1 = LayerScale2d(channels, _SCALE)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = ConvolutionalMLP(channels, ratio * channels)
        self.scale2 = LayerScale2d(channels, _SCALE)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        x = x + self.drop_path(self.scale1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class Embedding(nn.Sequential):
    """A strided 3×3 convolution and a batch norm: to a map of half the size."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels)


class Stage(nn.Module):
    """One stage: embedding, blocks, and the layer norm of the returned map."""

    def __init__(self, embed: nn.Module, blocks: Sequence[Block], channels: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.Sequential(*blocks)
        self.norm = LayerNorm2d(channels, eps=_EPS)


class MSCAN(Backbone):
    """Multi-scale convolutional attention network; see `mscan_t`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    channels : sequence of int
        Channels of each stage.
    depths : sequence of int
        Blocks of each stage.
    drop_path_rate : float
        Probability that the last block is skipped; earlier blocks have proportionally less.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, in_channels: int, channels: Sequence[int], depths: Sequence[int], drop_path_rate: float) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.depths = tuple(depths)
        rates = iter(drop_path_rate * block / (sum(depths) - 1) for block in range(sum(depths)))
        stages = []
        for index, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            embed = Embedding(channels[index - 1], width) if index else _stem(in_channels, width)
            stages.append(Stage(embed, [Block(width, _RATIOS[index], next(rates)) for _ in range(depth)], width))
        self.stages = nn.ModuleList(stages)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into four maps at strides 4, 8, 16 and 32."""
        x, maps = images, list[Tensor]()
        for stage in cast("list[Stage]", self.stages):
            x = stage.norm(self._through(stage.blocks, stage.embed(x)))
            maps.append(x)
        return maps

    def parameter_stages(self) -> dict[str, int]:
        """Return the stage of each parameter by name; the first embedding counts as the stem."""
        return {
            name: 0 if name.startswith("stages.0.embed.") else int(name.split(".")[1]) + 1
            for name, _ in self.named_parameters()
        }


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """Return two strided convolutions with batch norms and a GELU between them."""
    half = channels // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, half, 3, stride=2, padding=1),
        nn.BatchNorm2d(half),
        nn.GELU(),
        nn.Conv2d(half, channels, 3, stride=2, padding=1),
        nn.BatchNorm2d(channels),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _build(
    name: str,
    channels: Sequence[int],
    depths: Sequence[int],
    pretrained: bool | str | Path,
    in_channels: int,
    drop_path_rate: float,
) -> Backbone:
    backbone = MSCAN(in_channels, channels, depths, drop_path_rate)
    load_local(backbone, name, pretrained)
    return backbone


@register_backbone("mscan_t")
def mscan_t(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MSCAN-T (arXiv:2209.08575): maps of 32, 64, 160 and 256 channels at strides 4, 8, 16 and 32.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    drop_path_rate : float
        Stochastic depth: the probability that the last block is skipped; earlier blocks have proportionally less.
    """
    return _build("mscan_t", (32, 64, 160, 256), (3, 3, 5, 2), pretrained, in_channels, drop_path_rate)


@register_backbone("mscan_s")
def mscan_s(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MSCAN-S: maps of 64, 128, 320 and 512 channels; the arguments are those of `mscan_t`."""
    return _build("mscan_s", (64, 128, 320, 512), (2, 2, 4, 2), pretrained, in_channels, drop_path_rate)


@register_backbone("mscan_b")
def mscan_b(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """MSCAN-B: maps of 64, 128, 320 and 512 channels; the arguments are those of `mscan_t`."""
    return _build("mscan_b", (64, 128, 320, 512), (3, 3, 12, 3), pretrained, in_channels, drop_path_rate)


@register_backbone("mscan_l")
def mscan_l(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.3) -> Backbone:
    """MSCAN-L: maps of 64, 128, 320 and 512 channels; the arguments are those of `mscan_t`."""
    return _build("mscan_l", (64, 128, 320, 512), (3, 5, 27, 3), pretrained, in_channels, drop_path_rate)
