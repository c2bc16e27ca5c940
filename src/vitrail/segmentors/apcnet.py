"""APCNet: context from averages over grids, with weights that look at the whole image (He et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.layout import in_layout_of
from vitrail.layers.pooling import AdaptiveAveragePool
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class AdaptiveContext(nn.Module):
    """Adaptive context module: every pixel weights the averages over one grid, from itself and the whole image.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    channels : int
        C, the channels of the result.
    size : int
        s, the side of the grid.
    """

    def __init__(self, in_channels: int, channels: int, size: int) -> None:
        super().__init__()
        self.pool = nn.Sequential(AdaptiveAveragePool(size), ConvNormAct(in_channels, channels, 1))
        self.reduce = ConvNormAct(in_channels, channels, 1)
        self.image = ConvNormAct(channels, channels, 1)
        self.affinity = nn.Conv2d(channels, size**2, 1)
        self.residual = ConvNormAct(channels, channels, 1)
        self.fuse = ConvNormAct(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, h, w] to [B, C, h, w]."""
        cells = self.pool(x).flatten(2)  # [B, C, s²]
        x = self.reduce(x)
        image = self.image(x.mean(dim=(2, 3), keepdim=True))
        weights = self.affinity(x + image).flatten(2).sigmoid()  # [B, s², h * w]
        context = in_layout_of((cells @ weights).unflatten(2, x.shape[-2:]), x)
        return self.fuse(F.relu(self.residual(context) + x))


@register_segmentor("apcnet", output_stride=8, auxiliary=Auxiliary())
class APCHead(Head):
    """Adaptive pyramid context network (He, Deng, Zhou, Wang and Qiao, CVPR 2019).

    Adaptive context modules for several grids, joined with the last map and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each module and of the fused map.
    pool_sizes : sequence of int
        Sides of the grids, one module each.
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
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        in_channels = maps.channels[-1]
        self.contexts = nn.ModuleList(AdaptiveContext(in_channels, channels, size) for size in pool_sizes)
        self.fuse = ConvNormAct(in_channels + channels * len(pool_sizes), channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = features[-1]
        x = self.fuse(torch.cat([x, *(context(x) for context in self.contexts)], dim=1))
        return self.classifier(self.dropout(x))
