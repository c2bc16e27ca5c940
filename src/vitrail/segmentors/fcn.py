"""FCN: a few convolutions on the last feature map (Long, Shelhamer and Darrell, CVPR 2015, arXiv:1411.4038)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import ConvNormAct
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class FCNHead(Head):
    """Convolutions and a classifier on one feature map; also the auxiliary head of most other methods.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    num_classes : int
        K, the number of classes.
    index : int
        Which of the backbone's maps.
    channels : int
        Channels of the convolutions.
    num_convs : int
        How many; 0 classifies the feature map as it is.
    kernel_size, dilation : int
        Of the convolutions.
    concat_input : bool
        Whether one more convolution fuses the feature map with the result of the others (MMSegmentation's FCN).
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
        index: int = -1,
        channels: int = 512,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.index = index
        widths = [in_channels, *[channels] * num_convs]
        self.convs = nn.Sequential(
            *(ConvNormAct(a, b, kernel_size, dilation=dilation) for a, b in itertools.pairwise(widths))
        )
        self.fuse = ConvNormAct(in_channels + widths[-1], channels, kernel_size) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels if concat_input else widths[-1], num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        features_in = features[self.index]  # [B, C, h, w]
        x = self.convs(features_in)
        if self.fuse is not None:
            x = self.fuse(torch.cat([features_in, x], dim=1))
        return self.classifier(self.dropout(x))


def auxiliary_fcn(
    backbone: Backbone,
    num_classes: int,
    weight: float,
    *,
    channels: int,
    dropout: float,
    align_corners: bool,
    index: int = -2,
    dilation: int = 1,
) -> list[tuple[Head, float]]:
    """Return the auxiliary head that most methods put on the last map but one, or nothing when its weight is 0."""
    if weight == 0:
        return []
    head = FCNHead(
        backbone.channels[index],
        num_classes,
        index=index,
        channels=channels,
        num_convs=1,
        dilation=dilation,
        dropout=dropout,
        align_corners=align_corners,
    )
    return [(head, weight)]


@register_segmentor("fcn", output_stride=8)
def fcn(
    backbone: Backbone,
    num_classes: int,
    *,
    index: int = -1,
    channels: int = 512,
    num_convs: int = 2,
    kernel_size: int = 3,
    dilation: int = 1,
    concat_input: bool = False,
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    align_corners: bool = False,
) -> Segmentor:
    """Build a fully convolutional network (Long, Shelhamer and Darrell, CVPR 2015, arXiv:1411.4038).

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    index : int
        Which of the backbone's maps the head reads.
    channels : int
        Channels of the head's convolutions.
    num_convs : int
        How many convolutions stand before the classifier.
    kernel_size, dilation : int
        Of those convolutions; the auxiliary head's is as much dilated.
    concat_input : bool
        Whether one more convolution fuses the feature map with their result. MMSegmentation says True, SSSegmentation
        has none.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the auxiliary head's loss; 0 leaves the head out.
    aux_channels : int
        Channels of the auxiliary head: 512 in SSSegmentation, 256 in MMSegmentation.
    align_corners : bool
        How the logits are resized to the image.
    """
    head = FCNHead(
        backbone.channels[index],
        num_classes,
        index=index,
        channels=channels,
        num_convs=num_convs,
        kernel_size=kernel_size,
        dilation=dilation,
        concat_input=concat_input,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary = auxiliary_fcn(
        backbone,
        num_classes,
        aux_weight,
        channels=aux_channels,
        dropout=dropout,
        align_corners=align_corners,
        dilation=dilation,
    )
    return Segmentor(backbone, head, auxiliary)
