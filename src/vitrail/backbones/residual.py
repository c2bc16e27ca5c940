"""Residual blocks of the encoders for real-time segmentation: DDRNet, PIDNet and SCTNet."""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, with biases if wanted, and a shortcut; no ReLU at the end where `act` is False."""

    def __init__(
        self, in_channels: int, channels: int, *, stride: int = 1, act: bool = True, bias: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=stride, bias=bias)
        self.conv2 = ConvNormAct(channels, channels, 3, bias=bias, apply_act=False)
        self.shortcut = _shortcut(in_channels, channels, stride, bias=bias)
        self.act = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        return self.act(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3×3 convolution between two of 1×1, the second twice as wide, and a shortcut; no ReLU at the end."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, channels, 1)
        self.conv2 = ConvNormAct(channels, channels, 3, stride=stride)
        self.conv3 = ConvNormAct(channels, 2 * channels, 1, apply_act=False)
        self.shortcut = _shortcut(in_channels, 2 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, 2 D, h / stride, w / stride]."""
        return self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x)


def _shortcut(in_channels: int, out_channels: int, stride: int, *, bias: bool = False) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return ConvNormAct(in_channels, out_channels, 1, stride=stride, bias=bias, apply_act=False)


def basic_stage(in_channels: int, channels: int, count: int, *, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """Return `count` basic blocks, the first with the stride; the last of several has no ReLU at its end."""
    first = BasicBlock(in_channels, channels, stride=stride, bias=bias)
    rest = [BasicBlock(channels, channels, act=index < count - 1, bias=bias) for index in range(1, count)]
    return nn.Sequential(first, *rest)


def stem(in_channels: int, channels: int, count: int) -> nn.Sequential:
    """Return the layers up to stride 8: two convolutions with stride 2, and two stages of `count` basic blocks."""
    return nn.Sequential(
        ConvNormAct(in_channels, channels, 3, stride=2),
        ConvNormAct(channels, channels, 3, stride=2),
        basic_stage(channels, channels, count),
        nn.ReLU(),
        basic_stage(channels, 2 * channels, count, stride=2),
        nn.ReLU(),
    )
