"""Fast-SCNN: a two-branch encoder with a depthwise separable head (Poudel et al., BMVC 2019, arXiv:1902.04502)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.layers import DepthwiseSeparableConv
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("fastscnn", backbone="fastscnn", auxiliary=Auxiliary(maps=(-3, -2), channels=(32,)))
class FastSCNNHead(Head):
    """Fast-SCNN (Poudel, Liwicki and Cipolla, BMVC 2019, arXiv:1902.04502).

    Two depthwise separable convolutions and a classifier on the last feature map.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions.
    depthwise_act : bool
        Whether a ReLU stands between the depthwise and the pointwise convolutions: False in the paper and
        in MMSegmentation, True in SSSegmentation.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 128,
        depthwise_act: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        widths = (maps.channels[-1], channels, channels)
        self.convs = nn.Sequential(
            *(DepthwiseSeparableConv(a, b, depthwise_act=depthwise_act) for a, b in itertools.pairwise(widths))
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self.classifier(self.dropout(self.convs(features[-1])))
