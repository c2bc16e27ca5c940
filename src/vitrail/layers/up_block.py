"""The blocks of U-shaped decoders: a map is enlarged, joined with a finer one, and convolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

Interpolation = Literal["nearest", "bilinear"]


class SpatialChannelGate(nn.Module):
    """Concurrent spatial and channel squeeze and excitation (scSE): a gate per channel plus a gate per pixel.

    Parameters
    ----------
    channels : int
        Of the map.
    reduction : int
        How many times fewer channels the gate of the channels has inside.

    References
    ----------
    Roy, Navab and Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
    MICCAI 2018, arXiv:1803.02579.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.of_channels = squeeze_gate(channels, max(1, channels // reduction))
        self.of_pixels = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x * self.of_channels(x) + x * self.of_pixels(x).sigmoid()


def squeeze_gate(channels: int, inner: int) -> nn.Sequential:
    """Return squeeze and excitation: a map [B, C, h, w] to a gate [B, C, 1, 1] through `inner` channels."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels, inner, 1),
        nn.ReLU(),
        nn.Conv2d(inner, channels, 1),
        nn.Sigmoid(),
    )


class UpBlock(nn.Module):
    """Enlarge a map, concatenate a finer one where there is one, and convolve twice.

    Parameters
    ----------
    in_channels, skip_channels, channels : int
        Of the map, of the finer one (0: there is none), and of the result.
    gates : {"none", "result", "both"}
        Whether `SpatialChannelGate` is applied to the result, or also to what is concatenated.
    interpolation : {"nearest", "bilinear"}
        How the map is enlarged.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        channels: int,
        *,
        gates: Literal["none", "result", "both"] = "none",
        interpolation: Interpolation = "nearest",
    ) -> None:
        super().__init__()
        joined = in_channels + skip_channels
        self.gate_in = SpatialChannelGate(joined) if gates == "both" else nn.Identity()
        self.convs = two_convolutions(joined, channels)
        self.gate_out = nn.Identity() if gates == "none" else SpatialChannelGate(channels)
        self.interpolation = interpolation

    def forward(self, x: Tensor, size: Sequence[int], skip: Tensor | None = None) -> Tensor:
        """Map [B, C, h, w], and a map [B, D, *size] or None, to [B, E, *size]."""
        x = F.interpolate(x, size=tuple(size), mode=self.interpolation)
        x = self.gate_in(x if skip is None else torch.cat([x, skip], dim=1))
        return self.gate_out(self.convs(x))


def two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    """Return two 3×3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(ConvNormAct(in_channels, channels, 3), ConvNormAct(channels, channels, 3))


def initialise_decoder(decoder: nn.Module, classifier: nn.Conv2d) -> None:
    """Draw the weights of a decoder's convolutions for ReLUs (He), and those of its classifier for none (Glorot)."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(classifier.weight)
