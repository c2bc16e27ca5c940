"""DMNet: depthwise filters of several sizes that are made from each image (He, Deng and Qiao, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import BatchNormAct2d, ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.layout import in_layout_of
from vitrail.layers.pooling import AdaptiveAveragePool
from vitrail.layers.resize import is_exporting
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class DynamicConvolution(nn.Module):
    """Dynamic convolutional module: a depthwise convolution whose filters are the image's averages over a grid.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    channels : int
        C, the channels of the result.
    size : int
        Side of the filters and of the grid.
    """

    def __init__(self, in_channels: int, channels: int, size: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(AdaptiveAveragePool(size), nn.Conv2d(in_channels, channels, 1))
        self.reduce = ConvNormAct(in_channels, channels, 1)
        self.norm = BatchNormAct2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, h, w] to [B, C, h, w]."""
        filters = self.filters(x)  # [B, C, s, s]
        x = self.reduce(x)
        if filters.shape[-1] == 1:
            return self.norm(x * filters)
        return self.norm(in_layout_of(_filtered(x, filters), x))


def _filtered(x: Tensor, filters: Tensor) -> Tensor:
    """Convolve each channel of each image [B, C, h, w] with its own filter [B, C, s, s]; the size stays."""
    size = filters.shape[-1]
    before, after = size // 2, (size - 1) // 2
    if is_exporting() and isinstance(filters.shape[0], torch.SymInt):
        return _filtered_by_shifts(F.pad(x, (before, after, before, after)), filters)
    padded = F.pad(x, (before, after, before, after)) if size % 2 == 0 else x
    # the images of a batch as channels of one, so that a single grouped convolution does them all
    result = F.conv2d(
        padded.reshape(1, -1, *padded.shape[-2:]),
        filters.reshape(-1, 1, size, size),
        padding=0 if size % 2 == 0 else before,
        groups=filters.shape[0] * filters.shape[1],
    )
    return result.view(x.shape)


def _filtered_by_shifts(padded: Tensor, filters: Tensor) -> Tensor:
    """Return what `_filtered` does, without a number of groups that depends on the batch, which ONNX cannot have."""
    height, width = (length - filters.shape[-1] + 1 for length in padded.shape[-2:])
    return sum(
        (
            padded[..., row : row + height, column : column + width] * filters[:, :, row, column, None, None]
            for row in range(filters.shape[-2])
            for column in range(filters.shape[-1])
        ),
        start=padded.new_zeros(()),
    )


@register_segmentor("dmnet", output_stride=8, auxiliary=Auxiliary())
class DMHead(Head):
    """Dynamic multi-scale filters network (He, Deng and Qiao, ICCV 2019).

    Dynamic convolutional modules with filters of several sizes, joined with the last map and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of each module and of the fused map.
    filter_sizes : sequence of int
        Sides of the filters, one module each.
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
        filter_sizes: Sequence[int] = (1, 3, 5, 7),
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        in_channels = maps.channels[-1]
        self.filtered = nn.ModuleList(DynamicConvolution(in_channels, channels, size) for size in filter_sizes)
        self.fuse = ConvNormAct(in_channels + channels * len(filter_sizes), channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = features[-1]
        x = self.fuse(torch.cat([x, *(module(x) for module in self.filtered)], dim=1))
        return self.classifier(self.dropout(x))
