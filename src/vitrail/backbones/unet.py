"""U-Net: an encoder and a decoder of five resolutions with skip connections.

References
----------
O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv:1505.04597.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.layers import resize


class UpBlock(nn.Module):
    """Upsample the coarse map, project it, concatenate it with the skip connection, and convolve twice."""

    def __init__(self, coarse_channels: int, fine_channels: int) -> None:
        super().__init__()
        self.project = ConvNormAct(coarse_channels, fine_channels, 1)
        self.convs = _two_convolutions(2 * fine_channels, fine_channels)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Map [B, C, h, w] and [B, D, h / 2, w / 2] to [B, C, h, w]."""
        enlarged = self.project(resize(coarse, fine.shape[-2:]))
        return self.convs(torch.cat([fine, enlarged], dim=1))


class UNet(Backbone):
    """U-Net; see `unet_s5`."""

    strides = (16, 8, 4, 2, 1)
    stage_prefixes = (("down.0.",), ("down.1.",), ("down.2.",), ("down.3.",), ("down.4.",), ("up.",))

    def __init__(self, in_channels: int, base_channels: int) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(5)]
        self.channels = tuple(reversed(widths))
        self.down = nn.ModuleList(_two_convolutions(a, b) for a, b in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(UpBlock(coarse, fine) for fine, coarse in pairwise(widths))
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps at strides 16, 8, 4, 2 and 1, in the order they are made."""
        x, seen = images, list[Tensor]()
        for level, stage in enumerate(self.down):
            x = self._through([stage], self.pool(x) if level else x)
            seen.append(x)
        maps = [x]
        for level in reversed(range(len(self.up))):
            x = self.up[level](seen[level], x)
            maps.append(x)
        return maps


def _two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(in_channels, channels, 3), ConvNormAct(channels, channels, 3))


@register_backbone("unet_s5")
def unet_s5(*, in_channels: int = 3, base_channels: int = 64) -> Backbone:
    """U-Net (arXiv:1505.04597) with padded convolutions and batch norm: maps at strides 16, 8, 4, 2 and 1.

    The maps stand in the order they are made: the last, at the size of the image, is for the head.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    base_channels : int
        Channels at the size of the image; twice as many at each halving.
    """
    return UNet(in_channels, base_channels)
