"""Encoders of one convolution for each feature map, in each shape that a head may see of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone


class PlainEncoder(Backbone):
    """An encoder of one convolution for each map, with maps of the given strides and widths."""

    def __init__(self, strides: tuple[int, ...], channels: tuple[int, ...], *, channels_last: bool = False) -> None:
        super().__init__()
        self.strides, self.channels = strides, channels
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.convs = nn.ModuleList(
            nn.Conv2d(3, width, 3, stride, padding=1) for stride, width in zip(strides, channels, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return [conv(images).contiguous(memory_format=self.layout) for conv in self.convs]


# Strides, widths and layout, and the encoders whose maps are like this.
SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    "pyramid": ((4, 8, 16, 32), (16, 32, 64, 128), False),  # ResNet, MobileNet, Swin, ConvNeXt, HRNet
    "pyramid in channels_last": ((4, 8, 16, 32), (16, 32, 64, 128), True),  # MiT, Twins
    "dilated": ((4, 8, 8, 8), (16, 32, 64, 128), False),  # ResNet at output stride 8
    "plain": ((16, 16, 16, 16), (24, 24, 24, 24), True),  # ViT, BEiT, MAE
    "three maps": ((8, 32, 8), (32, 64, 64), False),  # Fast-SCNN, BiSeNetV1, CGNet
    "five maps, the last the finest": ((32, 16, 8, 4, 2), (64, 32, 16, 8, 8), False),  # U-Net, ERFNet
}


def plain_encoder(shape: str) -> PlainEncoder:
    """Return the encoder of one of `SHAPES`."""
    strides, channels, channels_last = SHAPES[shape]
    return PlainEncoder(strides, channels, channels_last=channels_last)
