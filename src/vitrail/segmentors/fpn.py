"""FPN: the segmentation branch of a panoptic feature pyramid with group norm (Kirillov et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.layers.convolution import conv_group_norm
from vitrail.layers.up_block import initialise_decoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

_LEVELS = 4


@register_segmentor("fpn", backbone="resnet34")
class FPNHead(Head):
    """Feature pyramid for segmentation (Kirillov, Girshick, He and Dollár, CVPR 2019, arXiv:1901.02446).

    Four maps are added from the coarsest to the finest; each is enlarged to the finest size by convolutions with group
    norm, and the results are added or concatenated. This is the decoder of segmentation_models_pytorch; Semantic FPN
    of MMSegmentation and SSSegmentation (`semanticfpn`) has batch norms, and a convolution on each map of the pyramid.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads the last four.
    num_classes : int
        K, the number of classes.
    pyramid_channels : int
        Channels of the pyramid.
    channels : int
        Channels of each map that is merged; multiples of 32.
    merge : {"add", "cat"}
        How the four maps are merged.
    dropout : float
        Probability of dropping a channel before the classifier.
    interpolation : {"nearest", "bilinear"}
        How maps of the pyramid are enlarged.
    align_corners : bool
        How the maps that are merged, and the logits, are resized.

    Raises
    ------
    ModelError
        For fewer than four maps.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        pyramid_channels: int = 256,
        channels: int = 128,
        merge: Literal["add", "cat"] = "add",
        dropout: float = 0.2,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        align_corners: bool = True,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(-_LEVELS, "fpn")
        self.interpolation = interpolation
        self.merge = merge
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid_channels, 1) for width in maps.channels[-_LEVELS:])
        self.levels = nn.ModuleList(
            nn.ModuleList(
                conv_group_norm(channels if i else pyramid_channels, channels, 3) for i in range(max(1, level))
            )
            for level in range(_LEVELS)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels * (_LEVELS if merge == "cat" else 1), num_classes, 1)
        initialise_decoder(self, self.classifier)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's last four maps into logits [B, K, h, w] at the size of the finest of them."""
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, features[-_LEVELS:], strict=True)]
        for level in reversed(range(_LEVELS - 1)):
            size = tuple(pyramid[level].shape[-2:])
            pyramid[level] = pyramid[level] + F.interpolate(pyramid[level + 1], size=size, mode=self.interpolation)
        sizes = [x.shape[-2:] for x in pyramid]
        merged = [self._enlarge(x, level, sizes) for level, x in enumerate(pyramid)]
        merged.reverse()
        x = torch.cat(merged, dim=1) if self.merge == "cat" else torch.stack(merged).sum(dim=0)
        return self.classifier(self.dropout(x))

    def _enlarge(self, x: Tensor, level: int, sizes: Sequence[Sequence[int]]) -> Tensor:
        """Bring a map of the pyramid to the finest size, a convolution before each step."""
        convs: nn.ModuleList = self.levels[level]  # type: ignore[assignment]
        for index, conv in enumerate(convs):
            x = resize(conv(x), sizes[max(0, level - 1 - index)], align_corners=self.align_corners)
        return x
