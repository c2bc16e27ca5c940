"""ERFNet: residual blocks of 3×1 and 1×3 convolutions, then a small decoder up to stride 2.

References
----------
E. Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation", T-ITS 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.layers import resize

Activation = Callable[[], nn.Module]


class Downsample(nn.Module):
    """Downsample by 2: strided convolution and max pooling, concatenated."""

    def __init__(self, in_channels: int, channels: int, *, bias: bool, eps: float, act: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels - in_channels, 3, stride=2, padding=1, bias=bias)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(channels, eps=eps)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / 2, w / 2], rounded up."""
        filtered = self.conv(x)
        pooled = resize(self.pool(x), filtered.shape[-2:])
        return self.act(self.norm(torch.cat([filtered, pooled], dim=1)))


class Factorized(nn.Module):
    """A residual block of 3×1 and 1×3 convolutions, the second pair dilated; its activation is shared."""

    def __init__(self, channels: int, *, dilation: int, dropout: float, eps: float, act: Activation) -> None:
        super().__init__()
        d = dilation
        self.tall1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.wide1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.norm1 = nn.BatchNorm2d(channels, eps=eps)
        self.tall2 = nn.Conv2d(channels, channels, (3, 1), padding=(d, 0), dilation=(d, 1))
        self.wide2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, d), dilation=(1, d))
        self.norm2 = nn.BatchNorm2d(channels, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        out = self.act(self.norm1(self.wide1(self.act(self.tall1(x)))))
        out = self.dropout(self.norm2(self.wide2(self.act(self.tall2(out)))))
        return self.act(out + x)


class Upsample(nn.Module):
    """Upsample by 2 with a transposed convolution."""

    def __init__(self, in_channels: int, channels: int, *, eps: float, act: Activation) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(channels, eps=eps)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, 2 h, 2 w]."""
        return self.act(self.norm(self.conv(x)))


class ERFNet(Backbone):
    """Efficient residual factorized network; see `erfnet`."""

    channels = (64, 128, 64, 16)
    strides = (4, 8, 4, 2)
    stage_prefixes = (("stem.",), ("stage1.",), ("stage2.",), ("up1.",), ("up2.",))

    def __init__(self, in_channels: int, dropout: float, bias: bool, eps: float, act: Activation) -> None:
        super().__init__()

        def block(channels: int, dilation: int = 1, rate: float = 0.0) -> Factorized:
            return Factorized(channels, dilation=dilation, dropout=rate, eps=eps, act=act)

        self.stem = Downsample(in_channels, 16, bias=bias, eps=eps, act=act)
        self.stage1 = nn.Sequential(
            Downsample(16, 64, bias=bias, eps=eps, act=act), *(block(64, rate=dropout) for _ in range(5))
        )
        self.stage2 = nn.Sequential(
            Downsample(64, 128, bias=bias, eps=eps, act=act),
            *(block(128, dilation, dropout) for dilation in (2, 4, 8, 16) * 2),
        )
        self.up1 = nn.Sequential(Upsample(128, 64, eps=eps, act=act), block(64), block(64))
        self.up2 = nn.Sequential(Upsample(64, 16, eps=eps, act=act), block(16), block(16))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into encoder maps at strides 4 and 8 and decoder maps at strides 4 and 2."""
        x, maps = self.stem(images), list[Tensor]()
        for stage in (self.stage1, self.stage2, self.up1, self.up2):
            x = self._through(stage, x)
            maps.append(x)
        return maps


@register_backbone("erfnet")
def erfnet(
    *,
    in_channels: int = 3,
    dropout: float = 0.1,
    prelu: bool = False,
    downsample_bias: bool = True,
    norm_eps: float = 1e-3,
) -> Backbone:
    """ERFNet: 64 and 128 channels at strides 4 and 8 (encoder), then 64 and 16 at strides 4 and 2 (decoder).

    The last map is for the head.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    dropout : float
        In the encoder's blocks.
    prelu : bool
        PReLU instead of ReLU, one slope for each block.
    downsample_bias : bool
        Whether the strided convolutions have a bias: True in the paper's code and MMSegmentation, False in
        SSSegmentation.
    norm_eps : float
        Of the batch norms: 1e-3 in the paper's code and MMSegmentation, 1e-5 in SSSegmentation.
    """
    return ERFNet(in_channels, dropout, downsample_bias, norm_eps, nn.PReLU if prelu else nn.ReLU)
