"""BiSeNet: a spatial path of three strided convolutions, a context path on a ResNet, and their fusion.

References
----------
C. Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018,
arXiv:1808.00897.
"""

from __future__ import annotations

from pathlib import Path

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.create import create_backbone


class AttentionRefinement(nn.Module):
    """Attention refinement module: a convolution with channel attention from global average pooling."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels, channels, 3)
        self.attention = ConvNormAct(channels, channels, 1, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w]."""
        x = self.conv(x)
        return x * self.attention(x.mean(dim=(2, 3), keepdim=True)).sigmoid()


class ContextPath(nn.Module):
    """Context path: the deep maps of an encoder, refined and upsampled to strides 16 and 8."""

    def __init__(self, encoder: Backbone, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.refine16 = AttentionRefinement(encoder.channels[-2], channels)
        self.refine32 = AttentionRefinement(encoder.channels[-1], channels)
        self.average = ConvNormAct(encoder.channels[-1], channels, 1)
        self.smooth16 = ConvNormAct(channels, channels, 3)
        self.smooth8 = ConvNormAct(channels, channels, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images [B, 3, H, W] into maps at strides 8 and 16."""
        _, eighth, sixteenth, last = self.encoder(images)
        x = self.refine32(last) + self.average(last.mean(dim=(2, 3), keepdim=True))
        context16 = self.smooth16(F.interpolate(x, size=sixteenth.shape[-2:], mode="nearest"))
        x = self.refine16(sixteenth) + context16
        return self.smooth8(F.interpolate(x, size=eighth.shape[-2:], mode="nearest")), context16


class FeatureFusion(nn.Module):
    """Feature fusion module: concatenate two maps, convolve, and add the result weighted by channel attention."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.join = ConvNormAct(in_channels, channels, 1)
        self.attention = ConvNormAct(channels, channels, 1)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Fuse two maps [B, C, h, w] into [B, D, h, w]."""
        x = self.join(torch.cat([spatial, context], dim=1))
        return x + x * self.attention(x.mean(dim=(2, 3), keepdim=True)).sigmoid()


class BiSeNetV1(Backbone):
    """Bilateral segmentation network; see `bisenetv1_resnet18`."""

    strides = (8, 16, 8)

    def __init__(self, encoder: Backbone, in_channels: int, width: int) -> None:
        super().__init__()
        context = 2 * width
        self.channels = (context, context, 4 * width)
        self.context = ContextPath(encoder, context)
        self.spatial = nn.Sequential(
            ConvNormAct(in_channels, width, 7, stride=2),
            ConvNormAct(width, width, 3, stride=2),
            ConvNormAct(width, width, 3, stride=2),
            ConvNormAct(width, 2 * width, 1),
        )
        self.fuse = FeatureFusion(context + 2 * width, 4 * width)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into context maps at strides 8 and 16 and the fused map at stride 8."""
        context8, context16 = self.context(images)
        return [context8, context16, self.fuse(self.spatial(images), context8)]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing in the ResNet of the context path."""
        self.context.encoder.set_grad_checkpointing(enable)

    def parameter_stages(self) -> dict[str, int]:
        """Return the stage of each parameter by name: those of the ResNet, then everything around it."""
        stages = {f"context.encoder.{name}": stage for name, stage in self.context.encoder.parameter_stages().items()}
        last = max(stages.values()) + 1
        return {name: stages.get(name, last) for name, _ in self.named_parameters()}


@register_backbone("bisenetv1_resnet18")
def bisenetv1_resnet18(
    *, pretrained: bool | str | Path = False, in_channels: int = 3, deep_stem: bool = False
) -> Backbone:
    """BiSeNet (arXiv:1808.00897) on ResNet-18: 128 channels at strides 8 and 16, then the fused 256 at stride 8.

    The last map is for the head, those before it for auxiliary heads.

    Parameters
    ----------
    pretrained : bool or path
        Weights of the ResNet in the context path; a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    deep_stem : bool
        Whether the ResNet begins with three 3×3 convolutions (SSSegmentation) or one 7×7 (MMSegmentation, the paper).
    """
    name = "resnet18c" if deep_stem else "resnet18"
    return BiSeNetV1(create_backbone(name, pretrained=pretrained, in_channels=in_channels), in_channels, 64)


@register_backbone("bisenetv1_resnet50")
def bisenetv1_resnet50(
    *, pretrained: bool | str | Path = False, in_channels: int = 3, deep_stem: bool = False
) -> Backbone:
    """BiSeNet on ResNet-50, four times as wide; the arguments are those of `bisenetv1_resnet18`."""
    name = "resnet50c" if deep_stem else "resnet50"
    return BiSeNetV1(create_backbone(name, pretrained=pretrained, in_channels=in_channels), in_channels, 256)


@register_backbone("bisenetv1_resnet101")
def bisenetv1_resnet101(
    *, pretrained: bool | str | Path = False, in_channels: int = 3, deep_stem: bool = False
) -> Backbone:
    """BiSeNet on ResNet-101, four times as wide; the arguments are those of `bisenetv1_resnet18`."""
    name = "resnet101c" if deep_stem else "resnet101"
    return BiSeNetV1(create_backbone(name, pretrained=pretrained, in_channels=in_channels), in_channels, 256)
