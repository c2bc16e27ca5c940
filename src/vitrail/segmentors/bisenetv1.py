"""BiSeNetV1: an encoder of a spatial and a context path, with two auxiliary heads (Yu et al., ECCV 2018)."""

from __future__ import annotations

from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor(
    "bisenetv1", backbone="bisenetv1_resnet18", auxiliary=Auxiliary(weight=1.0, maps=(-3, -2), channels=(64,))
)
class BiSeNetV1Head(FCNHead):
    """BiSeNetV1 (Yu, Wang, Peng, Gao, Yu and Sang, ECCV 2018, arXiv:1808.00897).

    One convolution and a classifier on the last feature map of the two-path encoder.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolution: 256 on ResNet-18, 1024 on larger ones.
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
        channels: int = 256,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            maps, num_classes, channels=channels, num_convs=1, dropout=dropout, align_corners=align_corners
        )
