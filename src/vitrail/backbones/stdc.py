"""STDC: short-term dense concatenation of ever narrower convolutions, with the context path of BiSeNet.

References
----------
M. Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, arXiv:2104.13188.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.bisenetv1 import AttentionRefinement
from vitrail.backbones.weights import load_local

_WIDTHS = (32, 64, 256, 512, 1024)
_CONTEXT = 128
_FUSED = 256


class DenseConcatenation(nn.Module):
    """STDC module: four convolutions, each half as wide as the one before but for the last, joined.

    Parameters
    ----------
    in_channels, channels : int
        Channels of the input and of the result.
    halve : bool
        Whether the second convolution reads a map of half the size, which the first is averaged to.
    """

    def __init__(self, in_channels: int, channels: int, *, halve: bool) -> None:
        super().__init__()
        half, quarter, eighth = channels // 2, channels // 4, channels // 8
        self.convs = nn.ModuleList(
            [
                ConvNormAct(in_channels, half, 1),
                ConvNormAct(half, quarter, 3),
                ConvNormAct(quarter, eighth, 3),
                ConvNormAct(eighth, eighth, 3),
            ]
        )
        self.downsample = ConvNormAct(half, half, 3, stride=2, groups=half, apply_act=False) if halve else None
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w], or to half the size."""
        first, *others = self.convs
        x = first(x)
        parts = [self.pool(x)]
        if self.downsample is not None:
            x = self.downsample(x)
        for conv in others:
            x = conv(x)
            parts.append(x)
        return torch.cat(parts, dim=1)


class ContextFusion(nn.Module):
    """Feature fusion module: join details and context, and add the result weighted by channel attention.

    Unlike BiSeNet's, the attention has a hidden layer and no norms.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.join = ConvNormAct(in_channels, channels, 1)
        self.squeeze = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.excite = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Fuse two maps [B, C, h, w] into [B, D, h, w]."""
        x = self.join(torch.cat([detail, context], dim=1))
        weight = self.excite(self.squeeze(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
        return x + x * weight


class STDC(Backbone):
    """STDC network with a context path; see `stdc1`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    depths : sequence of int
        Modules of each of the three stages.
    """

    channels = (_WIDTHS[2], _CONTEXT, _CONTEXT, _FUSED)
    strides = (8, 16, 8, 8)
    stage_prefixes = (
        ("stem.",),
        ("stages.0.",),
        ("stages.1.",),
        ("stages.2.",),
        ("refine16.", "refine32.", "average.", "smooth16.", "smooth8.", "fuse."),
    )

    def __init__(self, in_channels: int, depths: Sequence[int]) -> None:
        super().__init__()
        first, second, _, middle, last = _WIDTHS
        self.stem = nn.Sequential(ConvNormAct(in_channels, first, 3, stride=2), ConvNormAct(first, second, 3, stride=2))
        self.stages = nn.ModuleList(
            nn.Sequential(*(DenseConcatenation(width if i else before, width, halve=i == 0) for i in range(depth)))
            for (before, width), depth in zip(itertools.pairwise(_WIDTHS[1:]), depths, strict=True)
        )
        self.refine32 = AttentionRefinement(last, _CONTEXT)
        self.refine16 = AttentionRefinement(middle, _CONTEXT)
        self.average = ConvNormAct(last, _CONTEXT, 1)
        self.smooth16 = ConvNormAct(_CONTEXT, _CONTEXT, 3)
        self.smooth8 = ConvNormAct(_CONTEXT, _CONTEXT, 3)
        self.fuse = ContextFusion(self.channels[0] + _CONTEXT, _FUSED)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into details, context at strides 16 and 8, and the map that fuses them."""
        x, maps = self._through(self.stem, images), list[Tensor]()
        for stage in self.stages:
            x = self._through(stage, x)  # type: ignore[arg-type]
            maps.append(x)
        detail, sixteenth, last = maps
        context = self.refine32(last) + self.average(last.mean(dim=(2, 3), keepdim=True))
        context16 = self.smooth16(F.interpolate(context, size=sixteenth.shape[-2:], mode="nearest"))
        context = self.refine16(sixteenth) + context16
        context8 = self.smooth8(F.interpolate(context, size=detail.shape[-2:], mode="nearest"))
        return [detail, context16, context8, self.fuse(detail, context8)]


def _build(name: str, depths: Sequence[int], pretrained: bool | str | Path, in_channels: int) -> Backbone:
    backbone = STDC(in_channels, depths)
    load_local(backbone, name, pretrained)
    return backbone


@register_backbone("stdc1")
def stdc1(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """STDC1 (arXiv:2104.13188) with its context path: 256 channels of details, 128 of context twice, 256 fused.

    The last map, at stride 8, is for the head; the others are supervised in training.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    """
    return _build("stdc1", (2, 2, 2), pretrained, in_channels)


@register_backbone("stdc2")
def stdc2(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """STDC2, deeper; the maps and arguments are those of `stdc1`."""
    return _build("stdc2", (4, 5, 3), pretrained, in_channels)
