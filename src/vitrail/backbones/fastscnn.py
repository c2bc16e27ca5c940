"""Encoder of Fast-SCNN: a shallow branch at stride 8, a deep one at stride 32, and their fusion.

References
----------
R. P. K. Poudel, S. Liwicki, R. Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019, arXiv:1902.04502.
M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.layers import DepthwiseSeparableConv, PyramidPooling, resize


class InvertedResidual(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project; residual where shapes match."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int = 6) -> None:
        super().__init__()
        width = in_channels * expansion
        self.widen = ConvNormAct(in_channels, width, 1)
        self.filter = ConvNormAct(width, width, 3, stride=stride, groups=width)
        self.narrow = ConvNormAct(width, out_channels, 1, apply_act=False)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h / stride, w / stride]."""
        out = self.narrow(self.filter(self.widen(x)))
        return x + out if self.residual else out


class FeatureFusion(nn.Module):
    """Resize the deep map to the size of the shallow one and add them."""

    def __init__(self, shallow_channels: int, deep_channels: int, channels: int) -> None:
        super().__init__()
        self.smooth = ConvNormAct(deep_channels, channels, 3, groups=channels)
        self.deep = ConvNormAct(channels, channels, 1, apply_act=False)
        self.shallow = ConvNormAct(shallow_channels, channels, 1, apply_act=False)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Fuse [B, C, h, w] and a smaller [B, D, h', w'] into [B, E, h, w]."""
        deep = self.deep(self.smooth(resize(deep, shallow.shape[-2:])))
        return F.relu(self.shallow(shallow) + deep)


class FastSCNN(Backbone):
    """Encoder of Fast-SCNN; see `fastscnn`."""

    channels = (64, 128, 128)
    strides = (8, 32, 8)
    stage_prefixes = (("downsample.",), ("bottlenecks.",), ("pool.", "project.", "fusion."))

    def __init__(self, in_channels: int, depthwise_act: bool) -> None:
        super().__init__()
        self.downsample = nn.Sequential(
            ConvNormAct(in_channels, 32, 3, stride=2),
            DepthwiseSeparableConv(32, 48, stride=2, depthwise_act=depthwise_act),
            DepthwiseSeparableConv(48, 64, stride=2, depthwise_act=depthwise_act),
        )
        self.bottlenecks = nn.Sequential(
            *_bottlenecks(64, 64, stride=2), *_bottlenecks(64, 96, stride=2), *_bottlenecks(96, 128, stride=1)
        )
        self.pool = PyramidPooling(128, 32)
        self.project = ConvNormAct(self.pool.out_channels, 128, 3)
        self.fusion = FeatureFusion(64, 128, 128)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the shallow map (1/8), the deep map (1/32) and the fused map (1/8)."""
        shallow = self.downsample(images)
        deep = self.project(self.pool(self._through(self.bottlenecks, shallow)))
        return [shallow, deep, self.fusion(shallow, deep)]


def _bottlenecks(in_channels: int, out_channels: int, *, stride: int) -> list[nn.Module]:
    return [
        InvertedResidual(in_channels, out_channels, stride=stride),
        InvertedResidual(out_channels, out_channels, stride=1),
        InvertedResidual(out_channels, out_channels, stride=1),
    ]


@register_backbone("fastscnn")
def fastscnn(*, in_channels: int = 3, depthwise_act: bool = False) -> Backbone:
    """Encoder of Fast-SCNN (arXiv:1902.04502): 64, 128 and 128 channels at strides 8, 32 and 8.

    The last map is the fusion of the two before it, which feed auxiliary heads.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    depthwise_act : bool
        Whether a ReLU stands between the depthwise and the pointwise convolutions of the first layers: False in the
        paper and in MMSegmentation, True in SSSegmentation.
    """
    return FastSCNN(in_channels, depthwise_act)
