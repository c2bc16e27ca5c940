"""CGNet: a light encoder with a 1 x 1 classifier (Wu et al., IEEE TIP 2020, arXiv:1811.08201)."""

from __future__ import annotations

from vitrail.backbones import Backbone
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Segmentor, register_segmentor


@register_segmentor("cgnet", backbone="cgnet_m3n21")
def cgnet(backbone: Backbone, num_classes: int, *, dropout: float = 0.0, align_corners: bool = False) -> Segmentor:
    """Build a context guided network (Wu et al., IEEE TIP 2020, arXiv:1811.08201).

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """
    head = FCNHead(backbone.channels[-1], num_classes, num_convs=0, dropout=dropout, align_corners=align_corners)
    return Segmentor(backbone, head)
