"""Fast-SCNN: a two-branch encoder with a depthwise separable head (Poudel et al., BMVC 2019, arXiv:1902.04502)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import DepthwiseSeparableConv
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class FastSCNNHead(Head):
    """Depthwise separable convolutions and a classifier on the last feature map.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions.
    num_convs : int
        How many.
    depthwise_act : bool
        Whether a ReLU stands between the depthwise and the pointwise convolutions.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 128,
        num_convs: int = 2,
        depthwise_act: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        widths = [in_channels, *[channels] * num_convs]
        self.convs = nn.Sequential(
            *(DepthwiseSeparableConv(a, b, depthwise_act=depthwise_act) for a, b in itertools.pairwise(widths))
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.convs(features[-1])))


@register_segmentor("fastscnn", backbone="fastscnn")
def fastscnn(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 128,
    depthwise_act: bool = False,
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 32,
    align_corners: bool = False,
) -> Segmentor:
    """Build Fast-SCNN (Poudel, Liwicki and Cipolla, BMVC 2019, arXiv:1902.04502).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads its last map, the two auxiliary heads the two before.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head's convolutions.
    depthwise_act : bool
        Whether a ReLU stands between the head's depthwise and pointwise convolutions: False in the paper and
        in MMSegmentation, True in SSSegmentation.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the loss of each auxiliary head; 0 leaves the heads out.
    aux_channels : int
        Channels of the auxiliary heads.
    align_corners : bool
        How the logits are resized to the image.
    """
    head = FastSCNNHead(
        backbone.channels[-1],
        num_classes,
        channels=channels,
        depthwise_act=depthwise_act,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary: list[tuple[Head, float]] = []
    if aux_weight:
        for index in (-3, -2):
            aux = FCNHead(
                backbone.channels[index],
                num_classes,
                index=index,
                channels=aux_channels,
                num_convs=1,
                dropout=dropout,
                align_corners=align_corners,
            )
            auxiliary.append((aux, aux_weight))
    return Segmentor(backbone, head, auxiliary)
