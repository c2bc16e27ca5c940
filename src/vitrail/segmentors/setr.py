"""SETR: a plain transformer as encoder, with three decoders (Zheng et al., CVPR 2021, arXiv:2012.15840)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import resize
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.extended_backbone import ExtendedBackbone
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

_ENCODER = "vit_large_patch16_384"
_ENCODER_OPTIONS = {"out_indices": [9, 14, 19, 23], "interpolation": "bilinear", "norm_outputs": True}


@register_segmentor(
    "setr",
    backbone=_ENCODER,
    backbone_options=_ENCODER_OPTIONS,
    auxiliary=Auxiliary(maps=(0, 1, 2), channels=(256,), num_convs=2, upsample=4, upsample_mode="bilinear"),
)
class SETRHead(FCNHead):
    """SETR with naive or progressive upsampling (Zheng et al., CVPR 2021, arXiv:2012.15840).

    Convolutions on the last map of a plain transformer, each followed by a bilinear resize. Progressive upsampling
    (SETR-PUP) is four 3×3 convolutions with 2× resizes, as by default; SETR-Naive is one 1×1 convolution, or two 3×3 in
    SSSegmentation for ADE20K and VOC, with 4× resizes.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions.
    num_convs : int
        How many convolutions precede the classifier.
    kernel_size : int
        Of those convolutions.
    upsample : int
        Factor of the bilinear resize after each of them.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        num_convs: int = 4,
        kernel_size: int = 3,
        upsample: int = 2,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            maps,
            num_classes,
            channels=channels,
            num_convs=num_convs,
            kernel_size=kernel_size,
            upsample=upsample,
            upsample_mode="bilinear",
            dropout=dropout,
            align_corners=align_corners,
        )


class AggregatedBackbone(ExtendedBackbone):
    """A backbone whose maps are each added to the deeper ones (multi-level aggregation).

    Its maps are in the order in which they are added: the last of the encoder comes first.

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    channels : int
        Channels of the maps.
    align_corners : bool
        How a map is resized to the next one where their strides differ.
    """

    def __init__(self, backbone: Backbone, channels: int, *, align_corners: bool) -> None:
        super().__init__(backbone)
        self.projections = nn.ModuleList(ConvNormAct(width, channels, 1) for width in backbone.channels)
        self.convs = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in backbone.channels)
        self.channels = (channels,) * len(backbone.channels)
        self.strides = tuple(reversed(backbone.strides))
        self.align_corners = align_corners

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps [B, channels, h_i, w_i], from the deepest one to the sum of all."""
        projected = [project(x) for project, x in zip(self.projections, self.trunk(images), strict=True)]
        sums = [projected[-1]]
        for x in reversed(projected[:-1]):
            sums.append(x + resize(sums[-1], x.shape[-2:], align_corners=self.align_corners))
        return [conv(x) for conv, x in zip(self.convs, sums, strict=True)]


@register_segmentor(
    "setr_mla",
    backbone=_ENCODER,
    backbone_options=_ENCODER_OPTIONS,
    auxiliary=Auxiliary(maps=(-3, -2, -1), channels=(256,), num_convs=2, upsample=4, upsample_mode="bilinear"),
)
class SETRMLAHead(Head):
    """SETR with multi-level aggregation (Zheng et al., CVPR 2021, arXiv:2012.15840).

    The maps of a plain transformer are added up from the deepest one; each sum goes through two convolutions and a
    bilinear resize, and one classifier reads all of them.

    Parameters
    ----------
    maps : FeatureMaps
        The sums of maps that `wrap_backbone` makes, of `aggregation_channels` channels.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions on each of them.
    upsample : int
        Factor of the resize before the classifier, from the finest map.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        upsample: int = 4,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.convs = nn.ModuleList(
            nn.Sequential(ConvNormAct(width, channels, 3), ConvNormAct(channels, channels, 3))
            for width in maps.channels
        )
        self.upsample = upsample
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels * len(maps.channels), num_classes, 1)

    @classmethod
    def wrap_backbone(
        cls, backbone: Backbone, *, aggregation_channels: int = 256, align_corners: bool = False
    ) -> Backbone:
        """Return the backbone with its maps added up; see `AggregatedBackbone`.

        Parameters
        ----------
        backbone : Backbone
            The encoder.
        aggregation_channels : int
            Channels of the sums of maps.
        align_corners : bool
            How a map is resized to the next one where their strides differ.
        """
        return AggregatedBackbone(backbone, aggregation_channels, align_corners=align_corners)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the sums of maps into logits [B, K, upsample × h, upsample × w] of the finest map's size."""
        height, width = (self.upsample * side for side in features[-1].shape[-2:])
        branches = [
            resize(conv(x), (height, width), align_corners=self.align_corners)
            for conv, x in zip(self.convs, features, strict=True)
        ]
        return self.classifier(self.dropout(torch.cat(branches, dim=1)))
