"""SegFormer: one projection per map of a hierarchical transformer (Xie et al., NeurIPS 2021, arXiv:2105.15203)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.layers import ConvNormAct, resize
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class SegFormerHead(Head):
    """Every map is projected to the same channels, brought to the finest size, joined, fused and classified.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of each feature map, finest first.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    linear_projection : bool
        Whether the projections are linear maps with a bias rather than convolutions with batch norm and ReLU.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 256,
        linear_projection: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.projections = nn.ModuleList(
            nn.Conv2d(width, channels, 1) if linear_projection else ConvNormAct(width, channels, 1)
            for width in in_channels
        )
        self.fuse = ConvNormAct(channels * len(in_channels), channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        size = features[0].shape[-2:]
        # A pointwise convolution and a resize can change places: each map's share of the joint convolution is taken at
        # the map's own size, and the maps joined at the finest size, 4 * channels wide, never exist.
        shares = self.fuse.conv.weight.chunk(len(features), dim=1)
        maps = [
            resize(F.conv2d(project(feature), share), size, align_corners=self.align_corners)
            for feature, project, share in zip(features, self.projections, shares, strict=True)
        ]
        x = self.fuse.bn(functools.reduce(torch.add, maps))
        return self.classifier(self.dropout(x))


@register_segmentor("segformer", backbone="mit_b0")
def segformer(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 256,
    linear_projection: bool = False,
    dropout: float = 0.1,
    align_corners: bool = False,
) -> Segmentor:
    """Build SegFormer (Xie, Wang, Yu, Anandkumar, Alvarez and Luo, NeurIPS 2021, arXiv:2105.15203).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the head reads all its maps.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head: 256 in MMSegmentation and SSSegmentation; the authors' own weights have 768 on MiT-B2
        to B5.
    linear_projection : bool
        Whether each map is projected by a linear map with a bias, as in the paper and in transformers, rather than by
        a convolution with batch norm and ReLU, as in MMSegmentation and SSSegmentation.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How maps and logits are resized.
    """
    head = SegFormerHead(
        backbone.channels,
        num_classes,
        channels=channels,
        linear_projection=linear_projection,
        dropout=dropout,
        align_corners=align_corners,
    )
    return Segmentor(backbone, head)
