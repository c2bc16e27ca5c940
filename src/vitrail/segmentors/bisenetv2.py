"""BiSeNetV2: a two-branch encoder with a wide head and four auxiliary ones (Yu et al., IJCV 2021, arXiv:2004.02147)."""

from __future__ import annotations

from collections.abc import Sequence

from vitrail.backbones import Backbone
from vitrail.errors import ModelError
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


@register_segmentor("bisenetv2", backbone="bisenetv2")
def bisenetv2(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 1024,
    dropout: float = 0.1,
    aux_weight: float = 1.0,
    aux_channels: Sequence[int] = (16, 64, 256, 1024),
    align_corners: bool = False,
) -> Segmentor:
    """Build BiSeNetV2 (Yu, Gao, Wang, Yu, Shen and Sang, IJCV 2021, arXiv:2004.02147).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads its last map, the auxiliary heads the others.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the head's convolution.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the loss of each auxiliary head; 0 leaves the heads out.
    aux_channels : sequence of int
        Channels of the two convolutions of each auxiliary head, one number per map but the last, finest first.
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
        num_convs=2,
        dropout=dropout,
        align_corners=align_corners,
    )
    return Segmentor(backbone, head, auxiliary)


def auxiliary_fcns(
    backbone: Backbone,
    num_classes: int,
    weight: float,
    *,
    channels: Sequence[int],
    num_convs: int,
    dropout: float,
    align_corners: bool,
) -> list[tuple[Head, float]]:
    """Return an auxiliary head of its own width for every map but the last, or nothing when their weight is 0.

    Raises
    ------
    ModelError
        When there is not one number of channels for each of these maps.
    """
    if weight == 0:
        return []
    if len(channels) != len(backbone.channels) - 1:
        raise ModelError(
            f"aux_channels has {len(channels)} entries, but the backbone has {len(backbone.channels) - 1} maps "
            "besides the last; give one number for each of them"
        )
    heads: list[tuple[Head, float]] = []
    for index, width in enumerate(channels):
        head = FCNHead(
            backbone.channels[index],
            num_classes,
            index=index,
            channels=width,
            num_convs=num_convs,
            dropout=dropout,
            align_corners=align_corners,
        )
        heads.append((head, weight))
    return heads
