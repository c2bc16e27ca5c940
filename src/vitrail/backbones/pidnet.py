"""PIDNet: three branches, for details, context and boundaries, that work like a PID controller.

References
----------
J. Xu, Z. Xiong, S. P. Bhattacharyya, "PIDNet: A Real-time Semantic Segmentation Network Inspired by PID Controllers",
CVPR 2023, arXiv:2206.02066.
"""

from __future__ import annotations

from pathlib import Path

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.residual import BasicBlock, Bottleneck, basic_stage, stem
from vitrail.backbones.weights import load_local
from vitrail.layers import resize
from vitrail.layers.aggregation_pyramid import AggregationPyramid, NormActConv


class PixelAttention(nn.Module):
    """Pixel-attention-guided fusion (Pag): takes context where it agrees with the details.

    Parameters
    ----------
    channels : int
        Channels of both maps.
    inner_channels : int
        Channels in which they are compared.
    """

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.detail = ConvNormAct(channels, inner_channels, 1, apply_act=False)
        self.context = ConvNormAct(channels, inner_channels, 1, apply_act=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Fuse [B, C, h, w] with a coarser map [B, C, h', w'] into [B, C, h, w]."""
        size = detail.shape[-2:]
        agreement = (self.detail(detail) * resize(self.context(context), size)).sum(1, keepdim=True).sigmoid()
        return agreement * resize(context, size) + (1 - agreement) * detail


class LightBoundaryFusion(nn.Module):
    """Boundary-attention-guided fusion of the small PIDNets (light Bag): details at boundaries, context elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail = ConvNormAct(channels, channels, 1, apply_act=False)
        self.context = ConvNormAct(channels, channels, 1, apply_act=False)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Fuse three maps [B, C, h, w] into one."""
        share = boundary.sigmoid()
        return self.detail((1 - share) * context + detail) + self.context(context + share * detail)


class BoundaryFusion(nn.Module):
    """Boundary-attention-guided fusion of the large PIDNet (Bag): details at boundaries, context elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = NormActConv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Fuse three maps [B, C, h, w] into one."""
        share = boundary.sigmoid()
        return self.conv(share * detail + (1 - share) * context)


class PIDNet(Backbone):
    """Network of a proportional, an integral and a derivative branch; see `pidnet_s`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    channels : int
        C, the channels of the stem.
    pyramid_channels : int
        Channels of the levels of the pyramid.
    large : bool
        Whether the network is deeper, with the aggregation pyramid of DDRNet and the heavier fusion.
    """

    stage_prefixes = (
        ("stem.",),
        ("integral.0.", "proportional.0.", "derivative.0.", "compress.0.", "attend.0.", "differ.0."),
        ("integral.1.", "proportional.1.", "derivative.1.", "compress.1.", "attend.1.", "differ.1."),
        ("integral.2.", "proportional.2.", "derivative.2.", "pyramid.", "fuse."),
    )

    def __init__(self, in_channels: int, channels: int, pyramid_channels: int, *, large: bool) -> None:
        super().__init__()
        c, few, many = channels, 3 if large else 2, 4 if large else 3
        self.channels = (2 * c, 2 * c, 4 * c)
        self.strides = (8, 8, 8)
        self.stem = stem(in_channels, c, few)
        self.integral = nn.ModuleList(
            [
                basic_stage(2 * c, 4 * c, many, stride=2),
                basic_stage(4 * c, 8 * c, many, stride=2),
                nn.Sequential(Bottleneck(8 * c, 8 * c, stride=2), Bottleneck(16 * c, 8 * c)),
            ]
        )
        self.proportional = nn.ModuleList(
            [basic_stage(2 * c, 2 * c, few), basic_stage(2 * c, 2 * c, few), nn.Sequential(Bottleneck(2 * c, 2 * c))]
        )
        thin = 2 * c if large else c
        second = BasicBlock(thin, 2 * c, act=False) if large else Bottleneck(thin, c)
        self.derivative = nn.ModuleList(
            nn.Sequential(block) for block in (BasicBlock(2 * c, thin, act=False), second, Bottleneck(2 * c, 2 * c))
        )
        self.compress = nn.ModuleList(ConvNormAct(width, 2 * c, 1, apply_act=False) for width in (4 * c, 8 * c))
        self.attend = nn.ModuleList(PixelAttention(2 * c, c) for _ in range(2))
        self.differ = nn.ModuleList(
            ConvNormAct(width, out, 3, apply_act=False) for width, out in ((4 * c, thin), (8 * c, 2 * c))
        )
        self.pyramid = AggregationPyramid(16 * c, pyramid_channels, 4 * c, parallel=not large)
        self.fuse = BoundaryFusion(4 * c) if large else LightBoundaryFusion(4 * c)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the early map of details, that of boundaries, and the fused map."""
        context = detail = boundary = self._through(self.stem, images)
        size = detail.shape[-2:]
        attended: list[Tensor] = []
        for index in range(2):
            context = self._through([self.integral[index]], context).relu()
            detail = self._through([self.proportional[index]], detail.relu() if index else detail)
            boundary = self._through([self.derivative[index]], boundary.relu() if index else boundary)
            detail = self.attend[index](detail, self.compress[index](context))
            boundary = boundary + resize(self.differ[index](context), size)
            attended.append(detail)
        context = resize(self.pyramid(self._through([self.integral[2]], context)), size)
        detail = self._through([self.proportional[2]], detail.relu())
        last = self._through([self.derivative[2]], boundary.relu())
        return [attended[0], boundary, self.fuse(detail, context, last)]


@register_backbone("pidnet_s")
def pidnet_s(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """PIDNet-S (arXiv:2206.02066): 64, 64 and 128 channels at stride 8: early details, boundaries, the fused map.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    """
    backbone = PIDNet(in_channels, 32, 96, large=False)
    load_local(backbone, "pidnet_s", pretrained)
    return backbone


@register_backbone("pidnet_m")
def pidnet_m(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """PIDNet-M (arXiv:2206.02066): 128, 128 and 256 channels at stride 8; the arguments are those of `pidnet_s`."""
    backbone = PIDNet(in_channels, 64, 96, large=False)
    load_local(backbone, "pidnet_m", pretrained)
    return backbone


@register_backbone("pidnet_l")
def pidnet_l(*, pretrained: bool | str | Path = False, in_channels: int = 3) -> Backbone:
    """PIDNet-L (arXiv:2206.02066): 128, 128 and 256 channels at stride 8; the arguments are those of `pidnet_s`."""
    backbone = PIDNet(in_channels, 64, 112, large=True)
    load_local(backbone, "pidnet_l", pretrained)
    return backbone
