"""Atrous spatial pyramid pooling (ASPP)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.convolution import DepthwiseSeparableConv
from vitrail.layers.layout import in_layout_of


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel dilated convolutions and image pooling, concatenated and fused.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    channels : int
        Output channels of each branch and of the module.
    dilations : sequence of int
        One branch per dilation: a 1×1 convolution for 1, a dilated 3×3 convolution otherwise.
    separable : bool
        Whether the dilated convolutions are depthwise separable (DeepLabv3+).
    fuse_kernel_size : int
        Side of the kernel of the convolution that fuses the branches.
    depthwise_norm : bool
        Whether batch norm and ReLU follow the depthwise convolutions of separable ones, too.

    References
    ----------
    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        dilations: Sequence[int],
        *,
        separable: bool = False,
        fuse_kernel_size: int = 3,
        depthwise_norm: bool = True,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for dilation in dilations:
            if dilation == 1:
                self.branches.append(ConvNormAct(in_channels, channels, 1))
            elif separable:
                self.branches.append(
                    DepthwiseSeparableConv(in_channels, channels, dilation=dilation, depthwise_norm=depthwise_norm)
                )
            else:
                self.branches.append(ConvNormAct(in_channels, channels, 3, dilation=dilation))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(in_channels, channels, 1))
        self.fuse = ConvNormAct(channels * (len(dilations) + 1), channels, fuse_kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, channels, h, w]."""
        context = in_layout_of(self.pool(x).expand(-1, -1, *x.shape[-2:]), x)
        return self.fuse(torch.cat([*(branch(x) for branch in self.branches), context], dim=1))


def default_dilations(stride: int) -> tuple[int, ...]:
    """Return the published dilations for a feature map of this stride: (1, 6, 12, 18) at 16, (1, 12, 24, 36) at 8."""
    factor = max(1, 16 // stride)
    return (1, 6 * factor, 12 * factor, 18 * factor)
