"""Feature pyramid network (FPN) and the semantic head of Panoptic FPN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.resize import enlarge, resize


class FeaturePyramidNetwork(nn.Module):
    """Feature pyramid network: adds the upsampled coarser levels to each level, then applies a 3×3 convolution.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the encoder's maps, finest first.
    channels : int
        Channels of every output map.
    norm : bool
        Whether each convolution has batch norm and ReLU (SSSegmentation) or only a bias (the paper,
        MMSegmentation).

    References
    ----------
    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, arXiv:1612.03144.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, norm: bool = False) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(_convolution(width, channels, 1, norm=norm) for width in in_channels)
        self.smooth = nn.ModuleList(_convolution(channels, channels, 3, norm=norm) for _ in in_channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map [B, C_i, h_i, w_i], finest first, to [B, channels, h_i, w_i]."""
        sums = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for index in range(len(sums) - 1, 0, -1):
            finer = sums[index - 1]
            sums[index - 1] = finer + F.interpolate(sums[index], size=finer.shape[-2:], mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]


def _convolution(in_channels: int, channels: int, kernel_size: int, *, norm: bool) -> nn.Module:
    if norm:
        return ConvNormAct(in_channels, channels, kernel_size)
    conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight)
    return conv


def merge_top_down(
    features: Sequence[Tensor],
    coarsest: Tensor,
    laterals: nn.ModuleList,
    smooth: nn.ModuleList,
    *,
    align_corners: bool = False,
) -> Tensor:
    """Add a coarse map to the finer ones, level by level, and return all levels resized and concatenated (UPerNet).

    Parameters
    ----------
    features : sequence of Tensor
        [B, C_i, h_i, w_i], the encoder's maps without the coarsest, finest first.
    coarsest : Tensor
        [B, D, h, w], what takes the place of the coarsest.
    laterals, smooth : ModuleList
        For each of the features, what brings it to D channels, and what is applied to its sum with the coarser level.
    align_corners : bool
        How maps are resized.

    Returns
    -------
    Tensor
        At the size of the finest map; the channels of the finest level come first, those of `coarsest` last.
    """
    levels = [coarsest]
    for lateral, convolution, feature in zip(reversed(laterals), reversed(smooth), reversed(features), strict=True):
        coarsest = lateral(feature) + resize(coarsest, feature.shape[-2:], align_corners=align_corners)
        levels.insert(0, convolution(coarsest))
    size = levels[0].shape[-2:]
    return torch.cat([resize(level, size, align_corners=align_corners) for level in levels], dim=1)


class PyramidSum(nn.Module):
    """Semantic FPN: upsamples every pyramid level to the finest by convolutions and 2× resizes, and sums them.

    Parameters
    ----------
    in_channels : int
        Channels of the pyramid.
    channels : int
        Output channels.
    strides : sequence of int
        Strides of the levels, finest first; each is the first times a power of two.
    align_corners : bool
        Passed to `torch.nn.functional.interpolate`.

    References
    ----------
    Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019, arXiv:1901.02446.
    """

    def __init__(self, in_channels: int, channels: int, strides: Sequence[int], *, align_corners: bool = False) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for stride in strides:
            num_upsamples = round(math.log2(stride / strides[0]))
            convs = [
                ConvNormAct(in_channels if i == 0 else channels, channels, 3) for i in range(max(1, num_upsamples))
            ]
            self.levels.append(nn.ModuleList(convs))
        self.strides = tuple(strides)
        self.align_corners = align_corners

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Map levels [B, in_channels, h_i, w_i] to [B, channels, h_0, w_0]."""
        size = pyramid[0].shape[-2:]
        upsampled = []
        for convs, stride, x in zip(self.levels, self.strides, pyramid, strict=True):
            for conv in convs:  # type: ignore[attr-defined]
                x = conv(x)
                if stride != self.strides[0]:
                    x = enlarge(x, 2, align_corners=self.align_corners)
            upsampled.append(resize(x, size, align_corners=self.align_corners))
        return torch.stack(upsampled).sum(0)
