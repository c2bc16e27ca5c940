"""MA-Net: a U-Net with attention between positions and between scales (Fan et al., IEEE Access 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.up_block import UpBlock, initialise_decoder, squeeze_gate, two_convolutions
from vitrail.segmentors.full_size import FullSizeHead, sizes_up, steps_up
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


class PositionAttention(nn.Module):
    """Position-wise attention block: every pixel gets a mean of all pixels, weighted by how alike they are.

    As in segmentation_models_pytorch, the weights of all pairs of pixels sum to 1 together, and the means [B, h w, C]
    are read as a map [B, C, h, w] in the order in which they lie in memory.

    Parameters
    ----------
    channels, inner : int
        Of the map, and of what is compared.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(channels, inner, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.project = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        query, value = (conv(x).flatten(2).transpose(1, 2) for conv in (self.query, self.value))  # [B, h w, ·]
        scores = query @ self.key(x).flatten(2)  # [B, h w, h w]
        weights = scores.flatten(1).softmax(dim=1).view_as(scores)
        return self.project(x + (weights @ value).flatten(1).unflatten(1, x.shape[1:]))


class MultiscaleFusion(nn.Module):
    """Multi-scale fusion attention block: an `UpBlock` whose coarse map is weighted by channel, as both maps say.

    Parameters
    ----------
    in_channels, skip_channels, channels : int
        Of the map, of the finer one, and of the result.
    reduction : int
        How many times fewer channels the gates have inside.
    interpolation : {"nearest", "bilinear"}
        How the map is enlarged.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        channels: int,
        *,
        reduction: int = 16,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__()
        inner = max(1, skip_channels // reduction)
        self.project = nn.Sequential(
            ConvNormAct(in_channels, in_channels, 3), ConvNormAct(in_channels, skip_channels, 1)
        )
        self.gate = squeeze_gate(skip_channels, inner)
        self.skip_gate = squeeze_gate(skip_channels, inner)
        self.convs = two_convolutions(2 * skip_channels, channels)
        self.interpolation = interpolation

    def forward(self, x: Tensor, size: Sequence[int], skip: Tensor) -> Tensor:
        """Map [B, C, h, w] and [B, D, *size] to [B, E, *size]."""
        x = F.interpolate(self.project(x), size=tuple(size), mode=self.interpolation)
        return self.convs(torch.cat([x * (self.gate(x) + self.skip_gate(skip)), skip], dim=1))


@register_segmentor("manet", backbone="resnet34", backbone_options={"out_indices": [0, 1, 2, 3, 4]})
class MANetHead(FullSizeHead):
    """MA-Net on any encoder (Fan, Wang, Li and Wang, "MA-Net: A Multi-Scale Attention Network", IEEE Access 2020).

    A U-Net whose coarsest map passes through attention between its pixels, and in which the gate of each coarse map's
    channels also depends on the finer map. This is the decoder of segmentation_models_pytorch.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads all. The attention holds (h w)² numbers for the last.
    num_classes : int
        K, the number of classes.
    channels, interpolation
        As in `UNetHead`.
    attention_channels : int
        Channels in which pixels are compared.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        attention_channels: int = 64,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__(maps, num_classes)
        self.steps = steps_up(maps, "manet", len(channels))
        widths = [maps.channels[-1], *channels]
        self.attention = PositionAttention(widths[0], attention_channels)
        self.blocks = nn.ModuleList(
            MultiscaleFusion(widths[i], step.skip_channels, widths[i + 1], interpolation=interpolation)
            if step.skip_channels
            else UpBlock(widths[i], 0, widths[i + 1], interpolation=interpolation)
            for i, step in enumerate(self.steps)
        )
        self.classifier = nn.Conv2d(widths[len(self.steps)], num_classes, 3, padding=1)
        initialise_decoder(self, self.classifier)

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """See `FullSizeHead`."""
        x, *skips = reversed(features)
        x = self.attention(x)
        for i, (block, target) in enumerate(zip(self.blocks, sizes_up(features, self.steps, size), strict=True)):
            x = block(x, target, skips[i] if i < len(skips) else None)
        return self.classifier(x)
