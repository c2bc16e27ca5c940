"""CGNet: a light encoder whose blocks combine local, surrounding and global context.

References
----------
T. Wu et al., "CGNet: A Light-weight Context Guided Network for Semantic Segmentation", IEEE TIP 2020, arXiv:1811.08201.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone


class NormAct(nn.Sequential):
    """Batch norm and PReLU with one slope per channel."""

    def __init__(self, channels: int, *, eps: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=eps)
        self.act = nn.PReLU(channels)


class ConvNormPReLU(nn.Sequential):
    """A convolution padded to keep the size at stride 1, batch norm, PReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=eps)
        self.act = nn.PReLU(out_channels)


class GlobalContext(nn.Module):
    """Channel attention from global average pooling: two linear layers and a sigmoid."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return x * self.weights(x.mean(dim=(2, 3)))[:, :, None, None]


class ContextGuidedBlock(nn.Module):
    """Context guided block: local and dilated depthwise convolutions, concatenated, then channel attention.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after; a block that does not halve the map adds its input to its output.
    dilation : int
        Of the convolution that sees the surroundings.
    reduction : int
        By how much the global context narrows the channels.
    halve : bool
        Halve height and width.
    eps : float
        Of the batch norms.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dilation: int, reduction: int, halve: bool, eps: float
    ) -> None:
        super().__init__()
        width = out_channels if halve else out_channels // 2
        self.reduce = ConvNormPReLU(in_channels, width, 3 if halve else 1, stride=2 if halve else 1, eps=eps)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.surround = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)
        self.joint = NormAct(2 * width, eps=eps)
        self.project = nn.Conv2d(2 * width, out_channels, 1, bias=False) if halve else nn.Identity()
        self.context = GlobalContext(out_channels, reduction)
        self.residual = not halve

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w], or half the size."""
        reduced = self.reduce(x)
        joint = self.joint(torch.cat([self.local(reduced), self.surround(reduced)], dim=1))
        out = self.context(self.project(joint))
        return x + out if self.residual else out


class CGNet(Backbone):
    """Context guided network; see `cgnet_m3n21`."""

    stage_prefixes = (("stem.", "norm0."), ("level1.", "norm1."), ("level2.", "norm2."))

    def __init__(self, in_channels: int, num_blocks: tuple[int, int], eps: float) -> None:
        super().__init__()
        self.channels = (32 + in_channels, 128 + in_channels, 256)
        self.strides = (2, 4, 8)
        self.stem = nn.Sequential(
            ConvNormPReLU(in_channels, 32, 3, stride=2, eps=eps),
            ConvNormPReLU(32, 32, 3, eps=eps),
            ConvNormPReLU(32, 32, 3, eps=eps),
        )
        self.norm0 = NormAct(self.channels[0], eps=eps)
        self.level1 = _level(self.channels[0], 64, num_blocks[0], dilation=2, reduction=8, eps=eps)
        self.norm1 = NormAct(self.channels[1], eps=eps)
        self.level2 = _level(self.channels[1], 128, num_blocks[1], dilation=4, reduction=16, eps=eps)
        self.norm2 = NormAct(self.channels[2], eps=eps)
        self.shrink = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps of 35, 131 and 256 channels at strides 2, 4 and 8."""
        half = self.shrink(images)
        quarter = self.shrink(half)
        x0 = self.norm0(torch.cat([self.stem(images), half], dim=1))
        first = self.level1[0](x0)
        x1 = self.norm1(torch.cat([self._through(self.level1[1:], first), first, quarter], dim=1))
        first = self.level2[0](x1)
        x2 = self.norm2(torch.cat([first, self._through(self.level2[1:], first)], dim=1))
        return [x0, x1, x2]


def _level(
    in_channels: int, channels: int, num_blocks: int, *, dilation: int, reduction: int, eps: float
) -> nn.Sequential:
    return nn.Sequential(
        *(
            ContextGuidedBlock(
                channels if index else in_channels,
                channels,
                dilation=dilation,
                reduction=reduction,
                halve=index == 0,
                eps=eps,
            )
            for index in range(num_blocks)
        )
    )


@register_backbone("cgnet_m3n21")
def cgnet_m3n21(*, in_channels: int = 3, num_blocks: tuple[int, int] = (3, 21), norm_eps: float = 1e-3) -> Backbone:
    """CGNet (arXiv:1811.08201): maps at strides 2, 4 and 8; its head reads the last.

    Parameters
    ----------
    in_channels : int
        Channels of the images; shrunken images are part of the first two maps.
    num_blocks : (int, int)
        Blocks at stride 4 and at stride 8, M and N of the paper.
    norm_eps : float
        Of the batch norms: 1e-3 in the authors' code and in MMSegmentation, 1e-5 in SSSegmentation.
    """
    return CGNet(in_channels, (num_blocks[0], num_blocks[1]), norm_eps)
