"""DeepLabv3+: DeepLabv3 with separable convolutions and a decoder (Chen et al., ECCV 2018, arXiv:1802.02611)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import ASPP, ConvNormAct, DepthwiseSeparableConv, default_dilations, resize
from vitrail.segmentors.fcn import auxiliary_fcn
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class DeepLabV3PlusHead(Head):
    """Separable atrous pyramid on the last map, joined with the finest map by separable convolutions.

    Parameters
    ----------
    fine_channels, in_channels : int
        Channels of the finest and of the last feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid and of the decoder.
    shortcut_channels : int
        Channels that the finest map is narrowed to.
    dilations : sequence of int
        One branch each; 1 stands for a 1 x 1 convolution.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the pyramid's result and the logits are resized.
    """

    def __init__(
        self,
        fine_channels: int,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 512,
        shortcut_channels: int = 48,
        dilations: Sequence[int] = (1, 6, 12, 18),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = ASPP(in_channels, channels, dilations, separable=True)
        self.shortcut = ConvNormAct(fine_channels, shortcut_channels, 1)
        self.decoder = nn.Sequential(
            DepthwiseSeparableConv(channels + shortcut_channels, channels), DepthwiseSeparableConv(channels, channels)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        fine = self.shortcut(features[0])
        context = resize(self.pyramid(features[-1]), fine.shape[-2:], align_corners=self.align_corners)
        return self.classifier(self.dropout(self.decoder(torch.cat([context, fine], dim=1))))


@register_segmentor("deeplabv3plus", output_stride=16)
def deeplabv3plus(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    shortcut_channels: int = 48,
    dilations: Sequence[int] | None = None,
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    align_corners: bool = False,
) -> Segmentor:
    """Build DeepLabv3+ (Chen, Zhu, Papandreou, Schroff and Adam, ECCV 2018, arXiv:1802.02611).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads its first and its last map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid and of the decoder: 256 in the paper, 512 in SSSegmentation and MMSegmentation.
    shortcut_channels : int
        Channels that the finest map is narrowed to.
    dilations : sequence of int, optional
        One branch each; 1 stands for a 1 x 1 convolution. None takes the published ones for the backbone's stride:
        (1, 6, 12, 18) at 16, twice that at 8.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the auxiliary head's loss; 0 leaves the head out.
    aux_channels : int
        Channels of the auxiliary head: 512 in SSSegmentation, 256 in MMSegmentation.
    align_corners : bool
        How feature maps and logits are resized.
    """
    head = DeepLabV3PlusHead(
        backbone.channels[0],
        backbone.channels[-1],
        num_classes,
        channels=channels,
        shortcut_channels=shortcut_channels,
        dilations=default_dilations(backbone.strides[-1]) if dilations is None else dilations,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary = auxiliary_fcn(
        backbone, num_classes, aux_weight, channels=aux_channels, dropout=dropout, align_corners=align_corners
    )
    return Segmentor(backbone, head, auxiliary)
