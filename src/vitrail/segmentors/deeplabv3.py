"""DeepLabv3: atrous spatial pyramid pooling on the last feature map (Chen et al., 2017, arXiv:1706.05587)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import ASPP, default_dilations
from vitrail.segmentors.fcn import auxiliary_fcn
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class DeepLabV3Head(Head):
    """Atrous spatial pyramid pooling and a classifier.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid.
    dilations : sequence of int
        One branch each; 1 stands for a 1 x 1 convolution.
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
        channels: int = 512,
        dilations: Sequence[int] = (1, 12, 24, 36),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = ASPP(in_channels, channels, dilations)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.pyramid(features[-1])))


@register_segmentor("deeplabv3", output_stride=8)
def deeplabv3(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    dilations: Sequence[int] | None = None,
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    align_corners: bool = False,
) -> Segmentor:
    """Build DeepLabv3 (Chen, Papandreou, Schroff and Adam, 2017, arXiv:1706.05587).

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid: 256 in the paper, 512 in SSSegmentation and MMSegmentation.
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
        How the logits are resized to the image.
    """
    head = DeepLabV3Head(
        backbone.channels[-1],
        num_classes,
        channels=channels,
        dilations=default_dilations(backbone.strides[-1]) if dilations is None else dilations,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary = auxiliary_fcn(
        backbone, num_classes, aux_weight, channels=aux_channels, dropout=dropout, align_corners=align_corners
    )
    return Segmentor(backbone, head, auxiliary)
