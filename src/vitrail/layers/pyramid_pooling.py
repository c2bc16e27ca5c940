"""Pyramid pooling module (PPM) of PSPNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.layout import in_layout_of
from vitrail.layers.pooling import AdaptiveAveragePool
from vitrail.layers.resize import resize


class PyramidPooling(nn.Module):
    """Pyramid pooling module: the input concatenated with context from grids of several sizes.

    Each grid is an average pooling followed by a 1×1 convolution, resized to the size of the input.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    channels : int
        Channels of each pooled map.
    pool_sizes : sequence of int
        Side lengths of the pooled grids.
    align_corners : bool
        How the pooled maps are resized to the input's size; passed to `torch.nn.functional.interpolate`.
    act_layer : type of nn.Module
        Activation of the 1×1 convolutions.
    norm_of_mean : bool
        Whether batch norm follows the convolution of the grid of one cell; otherwise that has a bias.

    Attributes
    ----------
    out_channels : int
        Channels of the output: `in_channels + channels * len(pool_sizes)`.

    References
    ----------
    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, arXiv:1612.01105.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        *,
        align_corners: bool = False,
        act_layer: type[nn.Module] = nn.ReLU,
        norm_of_mean: bool = True,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(AdaptiveAveragePool(size), ConvNormAct(in_channels, channels, 1, act_layer=act_layer))
            for size in pool_sizes
        )
        if not norm_of_mean:
            for stage, size in zip(self.stages, pool_sizes, strict=True):
                if size == 1:
                    stage[1] = nn.Sequential(nn.Conv2d(in_channels, channels, 1), act_layer())  # type: ignore[operator]
        self.out_channels = in_channels + channels * len(pool_sizes)
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, out_channels, h, w]: the input, then the pooled maps."""
        pooled = [resize(stage(x), x.shape[-2:], align_corners=self.align_corners) for stage in self.stages]
        return torch.cat([x, *(in_layout_of(each, x) for each in pooled)], dim=1)
