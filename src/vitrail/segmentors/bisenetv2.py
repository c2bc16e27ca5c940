"""BiSeNetV2: a two-branch encoder with a wide head and four auxiliary ones (Yu et al., IJCV 2021, arXiv:2004.02147)."""

from __future__ import annotations

from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor(
    "bisenetv2",
    backbone="bisenetv2",
    auxiliary=Auxiliary(weight=1.0, maps=(-5, -4, -3, -2), channels=(16, 64, 256, 1024), num_convs=2),
)
class BiSeNetV2Head(FCNHead):
    """BiSeNetV2 (Yu, Gao, Wang, Yu, Shen and Sang, IJCV 2021, arXiv:2004.02147).

    One convolution and a classifier on the last feature map of the two-branch encoder.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolution.
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
        channels: int = 1024,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            maps, num_classes, channels=channels, num_convs=1, dropout=dropout, align_corners=align_corners
        )
