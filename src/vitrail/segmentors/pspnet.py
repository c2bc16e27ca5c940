"""PSPNet: context from a pyramid of pooled regions (Zhao et al., CVPR 2017, arXiv:1612.01105)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import ConvNormAct, PyramidPooling
from vitrail.segmentors.fcn import auxiliary_fcn
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class PSPHead(Head):
    """Pyramid pooling on the last feature map, a convolution, and a classifier.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each pooled map and of the convolution.
    pool_sizes : sequence of int
        Sides of the grids that the feature map is averaged over.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How pooled maps and logits are resized.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = PyramidPooling(in_channels, channels, pool_sizes, align_corners=align_corners)
        self.fuse = ConvNormAct(self.pyramid.out_channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.fuse(self.pyramid(features[-1]))))


@register_segmentor("pspnet", output_stride=8)
def pspnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    pool_sizes: Sequence[int] = (1, 2, 3, 6),
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    align_corners: bool = False,
) -> Segmentor:
    """Build a pyramid scene parsing network (Zhao et al., CVPR 2017, arXiv:1612.01105).

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each pooled map and of the convolution that fuses them.
    pool_sizes : sequence of int
        Sides of the grids that the last feature map is averaged over.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the auxiliary head's loss; 0 leaves the head out.
    aux_channels : int
        Channels of the auxiliary head: 512 in SSSegmentation, 256 in MMSegmentation.
    align_corners : bool
        How pooled maps and logits are resized.
    """
    head = PSPHead(
        backbone.channels[-1],
        num_classes,
        channels=channels,
        pool_sizes=pool_sizes,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary = auxiliary_fcn(
        backbone, num_classes, aux_weight, channels=aux_channels, dropout=dropout, align_corners=align_corners
    )
    return Segmentor(backbone, head, auxiliary)
