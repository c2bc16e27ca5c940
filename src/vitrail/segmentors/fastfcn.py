"""FastFCN: joint pyramid upsampling instead of dilation, before other heads (Wu et al., 2019, arXiv:1903.11816)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import DepthwiseSeparableConv, resize
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.deeplabv3 import DeepLabV3Head
from vitrail.segmentors.encnet import EncHead
from vitrail.segmentors.extended_backbone import ExtendedBackbone
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.pspnet import PSPHead
from vitrail.segmentors.segmentor import FeatureMaps


class JointPyramidUpsampling(nn.Module):
    """Joint pyramid upsampling: three maps fused at the size of the finest, by convolutions of several dilations.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the maps, finest first.
    channels : int
        Channels of the projection of each map, and of each dilated convolution.
    dilations : sequence of int
        One depthwise separable convolution each.
    align_corners : bool
        How maps are resized.

    References
    ----------
    Wu et al., "FastFCN: Rethinking Dilated Convolution in the Backbone for Semantic Segmentation", arXiv:1903.11816.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, dilations: Sequence[int], *, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList(ConvNormAct(width, channels, 3) for width in in_channels)
        self.dilated = nn.ModuleList(
            DepthwiseSeparableConv(len(in_channels) * channels, channels, dilation=dilation, depthwise_act=False)
            for dilation in dilations
        )
        self.out_channels = len(dilations) * channels
        self.align_corners = align_corners

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map [B, C_i, h_i, w_i], finest first, to [B, out_channels, h_0, w_0]."""
        size = features[0].shape[-2:]
        maps = [project(feature) for project, feature in zip(self.projections, features, strict=True)]
        x = torch.cat([resize(m, size, align_corners=self.align_corners) for m in maps], dim=1)
        return torch.cat([convolve(x) for convolve in self.dilated], dim=1)


class UpsampledBackbone(ExtendedBackbone):
    """A backbone whose last map is replaced by joint pyramid upsampling of the last three; the others stay.

    Parameters
    ----------
    backbone : Backbone
        The encoder, with three maps at least.
    channels, dilations, align_corners
        As in `JointPyramidUpsampling`.

    Raises
    ------
    ModelError
        When the backbone has fewer maps.
    """

    def __init__(self, backbone: Backbone, channels: int, dilations: Sequence[int], *, align_corners: bool) -> None:
        super().__init__(backbone)
        maps = FeatureMaps(tuple(backbone.channels), tuple(backbone.strides))
        maps.check_index(-3, "joint pyramid upsampling")
        self.upsampling = JointPyramidUpsampling(maps.channels[-3:], channels, dilations, align_corners=align_corners)
        self.channels = (*maps.channels[:-1], self.upsampling.out_channels)
        self.strides = (*maps.strides[:-1], maps.strides[-3])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the backbone's maps, the last one upsampled."""
        features = self.trunk(images)
        return [*features[:-1], self.upsampling(features[-3:])]


class _Upsampled:
    """Puts joint pyramid upsampling before the head of another method; auxiliary heads read the backbone's maps.

    It takes the place of dilation, so that the backbone needs none. The arguments come besides those of the head.

    Parameters
    ----------
    upsampling_channels : int
        Channels of the projections and of each dilated convolution of the upsampling.
    upsampling_dilations : sequence of int
        Dilations of its convolutions.
    """

    @classmethod
    def wrap_backbone(
        cls,
        backbone: Backbone,
        *,
        upsampling_channels: int = 512,
        upsampling_dilations: Sequence[int] = (1, 2, 4, 8),
        align_corners: bool = False,
    ) -> Backbone:
        """Return the backbone, of three maps at least, with its last map replaced; see `UpsampledBackbone`."""
        return UpsampledBackbone(backbone, upsampling_channels, upsampling_dilations, align_corners=align_corners)


@register_segmentor("fastfcn_fcn", auxiliary=Auxiliary())
class FastFCNHead(_Upsampled, FCNHead):
    """FastFCN with the head of FCN (Wu, Zhang, Huang, Liang and Yu, 2019, arXiv:1903.11816)."""


@register_segmentor("fastfcn_pspnet", auxiliary=Auxiliary())
class FastPSPHead(_Upsampled, PSPHead):
    """FastFCN with the head of PSPNet (Wu, Zhang, Huang, Liang and Yu, 2019, arXiv:1903.11816)."""


@register_segmentor("fastfcn_deeplabv3", auxiliary=Auxiliary())
class FastDeepLabV3Head(_Upsampled, DeepLabV3Head):
    """FastFCN with the head of DeepLabv3 (Wu, Zhang, Huang, Liang and Yu, 2019, arXiv:1903.11816)."""


@register_segmentor("fastfcn_encnet", auxiliary=Auxiliary())
class FastEncHead(_Upsampled, EncHead):
    """FastFCN with the head of EncNet (Wu, Zhang, Huang, Liang and Yu, 2019, arXiv:1903.11816)."""
