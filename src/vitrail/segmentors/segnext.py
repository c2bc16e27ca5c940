"""SegNeXt: a convolutional encoder with a Hamburger on its three coarser maps (Guo et al., NeurIPS 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.layers import resize
from vitrail.layers.convolution import conv_group_norm
from vitrail.layers.hamburger import Hamburger
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("segnext", backbone="mscan_t")
class SegNeXtHead(Head):
    """SegNeXt (Guo, Lu, Hou, Liu, Cheng and Hu, NeurIPS 2022, arXiv:2209.08575).

    All maps but the finest are brought to the size of the second and joined; a Hamburger, a factorization of the map,
    gives them global context.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads all but the first.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels before the classifier; a multiple of 32.
    inner_channels : int
        Channels of the Hamburger; a multiple of 32.
    rank : int
        Number of vectors of the factorization.
    steps, eval_steps : int
        How often these are updated in training and in evaluation.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        inner_channels: int = 256,
        rank: int = 16,
        steps: int = 6,
        eval_steps: int = 7,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(1, "segnext")
        self.squeeze = conv_group_norm(sum(maps.channels[1:]), inner_channels, 1)
        self.hamburger = Hamburger(inner_channels, rank, steps=steps, eval_steps=eval_steps)
        self.align = conv_group_norm(inner_channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the second map."""
        size = features[1].shape[-2:]
        joined = torch.cat([resize(x, size, align_corners=self.align_corners) for x in features[1:]], dim=1)
        return self.classifier(self.dropout(self.align(self.hamburger(self.squeeze(joined)))))
