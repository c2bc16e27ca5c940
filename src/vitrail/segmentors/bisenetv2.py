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
    auxiliary: list[tuple[Head, float]] = []
    if aux_weight and len(aux_channels) != len(backbone.channels) - 1:
        raise ModelError(
            f"aux_channels has {len(aux_channels)} entries, but the backbone has {len(backbone.channels) - 1} maps "
            "besides the last; give one number for each of them"
        )
    for index, width in enumerate(aux_channels if aux_weight else ()):
        aux = FCNHead(
            backbone.channels[index],
            num_classes,
            index=index,
            channels=width,
            num_convs=2,
            dropout=dropout,
            align_corners=align_corners,
        )
        auxiliary.append((aux, aux_weight))
    return Segmentor(backbone, head, auxiliary)
