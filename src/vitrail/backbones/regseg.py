"""RegSeg's encoder: grouped convolutions of two dilations side by side, which stops at stride 16.

References
----------
R. Gao, "Rethink Dilated Convolution for Real-time Semantic Segmentation", arXiv:2111.09957.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from timm.layers import ConvNormAct, SqueezeExcite
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.weights import load_local

_STEM = 32
_SE_RATIO = 4  # channels of a block's input for each hidden one of its squeeze and excitation
# Dilations of the blocks at stride 16 behind the first one (`exp48` and `exp53` in the authors' code).
_DILATIONS = ((1,), (1, 2), *4 * ((1, 4),), *7 * ((1, 14),))


class SplitConv(nn.Module):
    """Grouped 3×3 convolutions, each with its dilation and its share of the channels.

    Parameters
    ----------
    channels : int
        Channels of input and result, together.
    dilations : sequence of int
        One for each convolution.
    group_width : int
        Channels of a group.
    stride : int
        Of all convolutions.
    """

    def __init__(self, channels: int, dilations: Sequence[int], group_width: int, stride: int) -> None:
        super().__init__()
        width = channels // len(dilations)
        groups = width // group_width
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride, padding=d, dilation=d, groups=groups, bias=False) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, C, h / stride, w / stride]."""
        parts = x.chunk(len(self.convs), dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.convs, parts, strict=True)], dim=1)


class DBlock(nn.Module):
    """D block: a residual block as wide inside as outside, with `SplitConv` and squeeze and excitation in the middle.

    Parameters
    ----------
    in_channels, channels : int
        Channels of the input and of the result.
    group_width : int
        Channels of a group of the 3×3 convolutions.
    dilations : sequence of int
        Of the 3×3 convolutions, one for each share of the channels.
    stride : int
        1, or 2, with which the shortcut averages.
    """

    def __init__(
        self, in_channels: int, channels: int, group_width: int, *, dilations: Sequence[int] = (1,), stride: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 1)
        self.split = SplitConv(channels, dilations, group_width, stride)
        self.norm = nn.BatchNorm2d(channels)
        self.se = SqueezeExcite(channels, rd_channels=in_channels // _SE_RATIO)
        self.conv3 = ConvNormAct(channels, channels, 1, apply_act=False)
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else ConvNormAct(in_channels, channels, 1, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        inner = self.conv3(self.se(self.norm(self.split(self.conv1(x))).relu()))
        return (inner + self.shortcut(self.pool(x))).relu()


class RegSeg(Backbone):
    """RegSeg's encoder; see `regseg`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    channels : (int, int, int)
        Channels of the maps of stride 4, 8 and 16.
    inner_channels : int
        Channels of all blocks at stride 16 but the last.
    depths : (int, int)
        Blocks at stride 4 and at stride 8.
    group_width : int
        Channels of a group of the 3×3 convolutions.
    """

    strides = (4, 8, 16)
    stage_prefixes = (("stem.",), ("stages.0.",), ("stages.1.",), ("stages.2.",))

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int],
        inner_channels: int,
        depths: tuple[int, int],
        group_width: int,
    ) -> None:
        super().__init__()
        self.channels = channels
        fine, middle, last = channels

        def stage(widths: Sequence[int], dilations: Sequence[Sequence[int]] = ()) -> nn.Sequential:
            chosen = dilations or [(1,)] * (len(widths) - 2)
            return nn.Sequential(
                DBlock(widths[0], widths[1], group_width, stride=2),
                *(
                    DBlock(before, width, group_width, dilations=each)
                    for before, width, each in zip(widths[1:-1], widths[2:], chosen, strict=True)
                ),
            )

        self.stem = nn.Sequential(ConvNormAct(in_channels, _STEM, 3, stride=2))
        self.stages = nn.ModuleList(
            [
                stage([_STEM, *[fine] * depths[0]]),
                stage([fine, *[middle] * depths[1]]),
                stage([middle, *[inner_channels] * len(_DILATIONS), last], _DILATIONS),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the maps of stride 4, 8 and 16."""
        x, maps = self._through(self.stem, images), list[Tensor]()
        for stage in self.stages:
            x = self._through(stage, x)  # type: ignore[arg-type]
            maps.append(x)
        return maps


@register_backbone("regseg")
def regseg(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """RegSeg's encoder (arXiv:2111.09957): 48, 128 and 320 channels, a field of view of 3807 pixels.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    """
    backbone = RegSeg(in_channels, (48, 128, 320), 256, (1, 3), 16)
    load_local(backbone, "regseg", pretrained)
    return backbone


@register_backbone("regseg_large")
def regseg_large(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """The larger encoder of RegSeg's authors: 48, 120 and 384 channels; the arguments are those of `regseg`."""
    backbone = RegSeg(in_channels, (48, 120, 384), 336, (2, 6), 24)
    load_local(backbone, "regseg_large", pretrained)
    return backbone
