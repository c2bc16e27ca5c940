"""BiSeNetV1: an encoder of a spatial and a context path, with two auxiliary heads (Yu et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.backbones import Backbone
from vitrail.segmentors.bisenetv2 import auxiliary_fcns
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Segmentor, register_segmentor


@register_segmentor("bisenetv1", backbone="bisenetv1_resnet18")
def bisenetv1(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 256,
    dropout: float = 0.1,
    aux_weight: float = 1.0,
    aux_channels: Sequence[int] = (64, 64),
    align_corners: bool = False,
) -> Segmentor:
    """Build BiSeNetV1 (Yu, Wang, Peng, Gao, Yu and Sang, ECCV 2018, arXiv:1808.00897).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads its last map, the auxiliary heads the others.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head's convolution: 256 on ResNet-18, 1024 on larger ones.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the loss of each auxiliary head; 0 leaves the heads out.
    aux_channels : sequence of int
        Channels of the convolution of each auxiliary head, one number per map but the last.
    align_corners : bool
        How the logits are resized to the image.
    """
    head = FCNHead(
        backbone.channels[-1], num_classes, channels=channels, num_convs=1, dropout=dropout, align_corners=align_corners
    )
    auxiliary = auxiliary_fcns(
        backbone,
        num_classes,
        aux_weight,
        channels=aux_channels,
        num_convs=1,
        dropout=dropout,
        align_corners=align_corners,
    )
    return Segmentor(backbone, head, auxiliary)
