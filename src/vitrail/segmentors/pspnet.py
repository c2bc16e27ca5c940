"""PSPNet: context from a pyramid of pooled regions (Zhao et al., CVPR 2017, arXiv:1612.01105)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import PyramidPooling
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("pspnet", output_stride=8, auxiliary=Auxiliary())
class PSPHead(Head):
    """Pyramid scene parsing network (Zhao et al., CVPR 2017, arXiv:1612.01105).

    Pyramid pooling on the last feature map, a convolution, and a classifier.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each pooled map and of the convolution that fuses them.
    pool_sizes : sequence of int
        Sides of the grids that the feature map is averaged over.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How pooled maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.pyramid = PyramidPooling(maps.channels[-1], channels, pool_sizes, align_corners=align_corners)
        self.fuse = ConvNormAct(self.pyramid.out_channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.pre_logits(features)))

    def pre_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map [B, C, h, w] that is classified."""
        return self.fuse(self.pyramid(features[-1]))
