"""CCNet: pixels attend to their rows and columns, twice (Huang et al., ICCV 2019, arXiv:1811.11721)."""

from __future__ import annotations

from vitrail.layers.criss_cross import CrissCrossAttention
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.context_head import ContextHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor("ccnet", output_stride=8, auxiliary=Auxiliary())
class CCHead(ContextHead):
    """CCNet (Huang, Wang, Huang, Huang, Wei and Liu, ICCV 2019, arXiv:1811.11721).

    Criss-cross attention, several times with the same weights, between two convolutions.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of the attention.
    recurrence : int
        How often the attention is applied: from 2 on, every pixel gets information from every other.
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
        channels: int = 512,
        recurrence: int = 2,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        context = CrissCrossAttention(channels, recurrence=recurrence)
        super().__init__(maps, num_classes, context, channels=channels, dropout=dropout, align_corners=align_corners)
