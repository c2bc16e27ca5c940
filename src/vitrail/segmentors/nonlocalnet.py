"""NonLocalNet: a non-local block between two convolutions (Wang et al., CVPR 2018, arXiv:1711.07971)."""

from __future__ import annotations

from vitrail.layers.non_local import NonLocalBlock, Pairwise
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.context_head import ContextHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor("nonlocalnet", output_stride=8, auxiliary=Auxiliary())
class NonLocalHead(ContextHead):
    """Non-local network (Wang, Girshick, Gupta and He, CVPR 2018, arXiv:1711.07971).

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of the block.
    reduction, scale, pairwise
        As in `vitrail.layers.NonLocalBlock`.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        For an unknown `pairwise`.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        reduction: int = 2,
        scale: bool = True,
        pairwise: Pairwise = "embedded_gaussian",
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        context = NonLocalBlock(channels, reduction=reduction, scale=scale, pairwise=pairwise)
        super().__init__(maps, num_classes, context, channels=channels, dropout=dropout, align_corners=align_corners)
