"""Pyramid pooling of a small map by average pooling of several sizes: DAPPM (DDRNet, SCTNet) and PAPPM (PIDNet)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from vitrail.layers.resize import resize

_POOLS = ((5, 2), (9, 4), (17, 8))  # kernel and stride of the average poolings between the map itself and its mean


class NormActConv(nn.Module):
    """Batch norm, ReLU, and a convolution, with a bias if wanted, that keeps the size."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w]."""
        return self.conv(self.bn(x).relu())


class AggregationPyramid(nn.Module):
    """Pyramid pooling whose levels are added from fine to coarse, with a shortcut.

    Parameters
    ----------
    in_channels, channels, out_channels : int
        Channels of the map, of each level, and of the result.
    parallel : bool
        Whether the levels are added to the finest one, and convolved together in groups (PAPPM), or one after the
        other, each to the one before (DAPPM).
    bias : bool
        Whether convolutions have biases.

    References
    ----------
    Hong et al., "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road Scenes",
    arXiv:2101.06085, section 3.3; Xu, Xiong and Bhattacharyya, "PIDNet", CVPR 2023, arXiv:2206.02066, section 4.2.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, *, parallel: bool, bias: bool = False
    ) -> None:
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(size, stride, padding=size // 2) for size, stride in _POOLS]
        pools.append(nn.AdaptiveAvgPool2d(1))
        conv = functools.partial(NormActConv, bias=bias)
        self.finest = conv(in_channels, channels, 1)
        self.coarser = nn.ModuleList(nn.Sequential(pool, conv(in_channels, channels, 1)) for pool in pools)
        levels = len(pools)
        self.process = (
            nn.ModuleList([conv(levels * channels, levels * channels, 3, groups=levels)])
            if parallel
            else nn.ModuleList(conv(channels, channels, 3) for _ in pools)
        )
        self.compress = conv((levels + 1) * channels, out_channels, 1)
        self.shortcut = conv(in_channels, out_channels, 1)
        self.parallel = parallel

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w]."""
        finest = self.finest(x)
        coarser = [resize(level(x), x.shape[-2:]) for level in self.coarser]
        if self.parallel:
            (process,) = self.process
            levels = [finest, process(torch.cat([level + finest for level in coarser], 1))]
        else:
            levels = [finest]
            for level, process in zip(coarser, self.process, strict=True):
                levels.append(process(level + levels[-1]))
        return self.compress(torch.cat(levels, 1)) + self.shortcut(x)
