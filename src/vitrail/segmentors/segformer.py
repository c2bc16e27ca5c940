"""SegFormer: one projection per map of a hierarchical transformer (Xie et al., NeurIPS 2021, arXiv:2105.15203)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("segformer", backbone="mit_b0")
class SegFormerHead(Head):
    """SegFormer (Xie, Wang, Yu, Anandkumar, Alvarez and Luo, NeurIPS 2021, arXiv:2105.15203).

    Every map is projected to the same channels, resized to the finest, fused and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads all.
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
    align_logits : bool, optional
        How logits are resized, where it is another way: True in segmentation_models_pytorch.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 256,
        linear_projection: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
        align_logits: bool | None = None,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners if align_logits is None else align_logits)
        self.align_maps = align_corners
        self.projections = nn.ModuleList(
            nn.Conv2d(width, channels, 1) if linear_projection else ConvNormAct(width, channels, 1)
            for width in maps.channels
        )
        self.fuse = ConvNormAct(channels * len(maps.channels), channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def joined(self, features: Sequence[Tensor]) -> Tensor:
        """Return what `fuse` reads: the projections of N maps at the size of the finest, side by side [B, N C, h, w].

        `forward` computes the same without ever holding it.
        """
        size = features[0].shape[-2:]
        maps = [project(feature) for feature, project in zip(features, self.projections, strict=True)]
        return torch.cat([resize(x, size, align_corners=self.align_maps) for x in maps], dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        size = features[0].shape[-2:]
        # A pointwise convolution commutes with a resize: each map goes through its slice of the fusing convolution at
        # its own size, so that the concatenation at the finest size, 4 * channels wide, is never created.
        slices = self.fuse.conv.weight.chunk(len(features), dim=1)
        maps = [
            resize(F.conv2d(project(feature), weight), size, align_corners=self.align_maps)
            for feature, project, weight in zip(features, self.projections, slices, strict=True)
        ]
        x = self.fuse.bn(functools.reduce(torch.add, maps))
        return self.classifier(self.dropout(x))
