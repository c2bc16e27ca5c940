"""RegSeg: three maps of an encoder with large dilations are merged at the finest one (Gao, arXiv:2111.09957)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import resize
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("regseg", backbone="regseg")
class RegSegHead(Head):
    """RegSeg (Gao, 2021, arXiv:2111.09957).

    The two coarsest maps are projected and added, the finer one's projection is joined to their sum, each time
    followed by a 3×3 convolution.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last three.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the sum; the 3×3 convolutions have half as many.
    fine_channels : int
        Channels that the finest map is projected to.

    Raises
    ------
    ModelError
        For a backbone with fewer than three maps.
    """

    def __init__(self, maps: FeatureMaps, num_classes: int, *, channels: int = 128, fine_channels: int = 8) -> None:
        super().__init__(num_classes)
        maps.check_index(-3, "regseg")
        fine, middle, coarse = maps.channels[-3:]
        half = channels // 2
        self.project_coarse = ConvNormAct(coarse, channels, 1)
        self.project_middle = ConvNormAct(middle, channels, 1)
        self.project_fine = ConvNormAct(fine, fine_channels, 1)
        self.conv_middle = ConvNormAct(channels, half, 3)
        self.conv_fine = ConvNormAct(half + fine_channels, half, 3)
        self.classifier = nn.Conv2d(half, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the last three maps into logits [B, K, h, w] at the size of the finest of them."""
        fine, middle, coarse = features[-3:]
        coarse = resize(self.project_coarse(coarse), middle.shape[-2:])
        x = self.conv_middle(self.project_middle(middle) + coarse)
        x = torch.cat([resize(x, fine.shape[-2:]), self.project_fine(fine)], dim=1)
        return self.classifier(self.conv_fine(x))
