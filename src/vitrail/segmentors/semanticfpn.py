"""Semantic FPN: a feature pyramid whose levels are summed (Kirillov et al., CVPR 2019, arXiv:1901.02446)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.layers.feature_pyramid import FeaturePyramidNetwork, PyramidSum
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("semanticfpn")
class SemanticFPNHead(Head):
    """Semantic branch of panoptic feature pyramid networks (Kirillov, Girshick, He and Dollár, CVPR 2019).

    A feature pyramid over all maps, whose levels are enlarged to the finest by convolutions and 2× resizes and added.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads all.
    num_classes : int
        K, the number of classes.
    pyramid_channels : int
        Channels of the feature pyramid.
    channels : int
        Channels of the convolutions that enlarge its levels, and of their sum.
    norm : bool
        Whether batch norm and ReLU follow the convolutions of the feature pyramid: True in SSSegmentation, False in the
        paper and MMSegmentation.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How levels and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        pyramid_channels: int = 256,
        channels: int = 128,
        norm: bool = True,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = FeaturePyramidNetwork(maps.channels, pyramid_channels, norm=norm)
        self.fuse = PyramidSum(pyramid_channels, channels, maps.strides, align_corners=align_corners)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        return self.classifier(self.dropout(self.fuse(self.pyramid(features))))
