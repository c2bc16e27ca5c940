"""BiSeNetV2: a wide shallow detail branch and a narrow deep semantic branch that gate each other.

References
----------
C. Yu et al., "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-time Semantic Segmentation", IJCV 2021,
arXiv:2004.02147.
"""

from __future__ import annotations

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.layers import resize


class Stem(nn.Module):
    """Stem at stride 4: convolutions and max pooling, concatenated and fused."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = ConvNormAct(in_channels, channels, 3, stride=2)
        self.convs = nn.Sequential(
            ConvNormAct(channels, channels // 2, 1), ConvNormAct(channels // 2, channels, 3, stride=2)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvNormAct(2 * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, D, H / 4, W / 4]."""
        x = self.first(x)
        return self.fuse(torch.cat([self.convs(x), self.pool(x)], dim=1))


class GatherExpand(nn.Module):
    """Gather-and-expansion layer: 3×3 convolution, depthwise expansion, projection, residual."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1, expansion: int = 6) -> None:
        super().__init__()
        width = in_channels * expansion
        self.gather = ConvNormAct(in_channels, in_channels, 3)
        if stride == 1:
            self.expand = nn.Sequential(ConvNormAct(in_channels, width, 3, groups=in_channels))
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.expand = nn.Sequential(
                ConvNormAct(in_channels, width, 3, stride=stride, groups=in_channels, apply_act=False),
                ConvNormAct(width, width, 3, groups=width),
            )
            self.shortcut = nn.Sequential(
                ConvNormAct(in_channels, in_channels, 3, stride=stride, groups=in_channels, apply_act=False),
                ConvNormAct(in_channels, channels, 1, apply_act=False),
            )
        self.project = ConvNormAct(width, channels, 1, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        return F.relu(self.project(self.expand(self.gather(x))) + self.shortcut(x))


class ContextEmbedding(nn.Module):
    """Context embedding block: adds the projected global average to every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.project = ConvNormAct(channels, channels, 1)
        self.fuse = ConvNormAct(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        return self.fuse(x + self.project(self.norm(x.mean(dim=(2, 3), keepdim=True))))


class GuidedAggregation(nn.Module):
    """Bilateral guided aggregation: each branch gates the other at its resolution; the products are added."""

    def __init__(self, channels: int, *, pointwise_bias: bool) -> None:
        super().__init__()
        self.detail = _depthwise_pointwise(channels, bias=pointwise_bias)
        self.detail_down = nn.Sequential(
            ConvNormAct(channels, channels, 3, stride=2, apply_act=False), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_up = ConvNormAct(channels, channels, 3, apply_act=False)
        self.semantic = _depthwise_pointwise(channels, bias=pointwise_bias)
        self.fuse = ConvNormAct(channels, channels, 3)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Fuse [B, C, h, w] and [B, C, h / 4, w / 4] into [B, C, h, w]."""
        size = detail.shape[-2:]
        fine = self.detail(detail) * resize(self.semantic_up(semantic), size).sigmoid()
        coarse = self.detail_down(detail) * self.semantic(semantic).sigmoid()
        return self.fuse(fine + resize(coarse, size))


def _depthwise_pointwise(channels: int, *, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvNormAct(channels, channels, 3, groups=channels, apply_act=False),
        nn.Conv2d(channels, channels, 1, bias=bias),
    )


class BiSeNetV2(Backbone):
    """Bilateral network with guided aggregation; see `bisenetv2`."""

    channels = (16, 32, 64, 128, 128)
    strides = (4, 8, 16, 32, 8)
    stage_prefixes = (
        ("detail.0.", "stem."),
        ("detail.", "stage3."),
        ("stage4.",),
        ("stage5.", "context.", "aggregate."),
    )

    def __init__(self, in_channels: int, pointwise_bias: bool) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            nn.Sequential(ConvNormAct(in_channels, 64, 3, stride=2), ConvNormAct(64, 64, 3)),
            nn.Sequential(ConvNormAct(64, 64, 3, stride=2), ConvNormAct(64, 64, 3), ConvNormAct(64, 64, 3)),
            nn.Sequential(ConvNormAct(64, 128, 3, stride=2), ConvNormAct(128, 128, 3), ConvNormAct(128, 128, 3)),
        )
        self.stem = Stem(in_channels, 16)
        self.stage3 = nn.Sequential(GatherExpand(16, 32, stride=2), GatherExpand(32, 32))
        self.stage4 = nn.Sequential(GatherExpand(32, 64, stride=2), GatherExpand(64, 64))
        self.stage5 = nn.Sequential(GatherExpand(64, 128, stride=2), *(GatherExpand(128, 128) for _ in range(3)))
        self.context = ContextEmbedding(128)
        self.aggregate = GuidedAggregation(128, pointwise_bias=pointwise_bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the deep branch's maps at strides 4, 8, 16 and 32, and the fused map at 8."""
        detail = self._through(self.detail, images)
        quarter = self.stem(images)
        eighth = self._through(self.stage3, quarter)
        sixteenth = self._through(self.stage4, eighth)
        last = self._through(self.stage5, sixteenth)
        return [quarter, eighth, sixteenth, last, self.aggregate(detail, self.context(last))]


@register_backbone("bisenetv2")
def bisenetv2(*, in_channels: int = 3, pointwise_bias: bool = True) -> Backbone:
    """BiSeNetV2 (arXiv:2004.02147): 16, 32, 64, 128 channels at strides 4, 8, 16, 32, then the fused 128 at stride 8.

    The last map is for the head, those before it for auxiliary heads.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    pointwise_bias : bool
        Whether the pointwise convolutions of the aggregation have a bias: True in MMSegmentation, False in
        SSSegmentation.
    """
    return BiSeNetV2(in_channels, pointwise_bias)
