"""CGNet: a light encoder with a 1 x 1 classifier (Wu et al., IEEE TIP 2020, arXiv:1811.08201)."""

from __future__ import annotations

from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps


@register_segmentor("cgnet", backbone="cgnet_m3n21")
class CGNetHead(FCNHead):
    """Context guided network (Wu et al., IEEE TIP 2020, arXiv:1811.08201).

    A classifier on the last feature map of an encoder that gathers context itself.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self, maps: FeatureMaps, num_classes: int, *, dropout: float = 0.0, align_corners: bool = False
    ) -> None:
        super().__init__(maps, num_classes, num_convs=0, dropout=dropout, align_corners=align_corners)
