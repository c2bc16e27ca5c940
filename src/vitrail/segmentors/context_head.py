"""Base of the methods that put a block of context between the two convolutions of an FCN head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import FeatureMaps


class ContextHead(FCNHead):
    """FCN head of two convolutions with a block between them; the result is fused with the map and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    context : nn.Module
        The block, from [B, channels, h, w] to the same shape.
    channels : int
        Channels of the convolutions and of the block.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        context: nn.Module,
        *,
        channels: int,
        dropout: float,
        align_corners: bool,
    ) -> None:
        super().__init__(
            maps,
            num_classes,
            channels=channels,
            num_convs=2,
            concat_input=True,
            dropout=dropout,
            align_corners=align_corners,
        )
        self.context = context

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        before, after = self.convs
        x = after(self.context(before(features[-1])))
        assert self.fuse is not None
        return self.classifier(self.dropout(self.fuse(torch.cat([features[-1], x], dim=1))))
