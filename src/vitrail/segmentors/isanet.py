"""ISANet: attention among distant pixels, then among neighbours (Huang et al., 2019, arXiv:1907.12273)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers.attention import attend_in_groups
from vitrail.layers.layout import in_layout_of
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class GroupedAttention(nn.Module):
    """Self-attention within groups of pixels: those at the same place of every window, or those of one window.

    Parameters
    ----------
    channels : int
        C, the channels of the map.
    attention_channels : int
        Channels of queries and keys.
    window : (int, int)
        Height and width of a window.
    distant : bool
        Whether the pixels at the same place of every window are a group; otherwise those of one window are.
    bias : bool
        Whether the convolution that makes values has a bias.
    """

    def __init__(
        self, channels: int, attention_channels: int, window: tuple[int, int], *, distant: bool, bias: bool
    ) -> None:
        super().__init__()
        self.window = window
        # from [B, D, rows, y, columns, x] with windows at (row, column) and pixels at (y, x) in them
        groups, members = ((3, 5), (2, 4)) if distant else ((2, 4), (3, 5))
        self.order = (0, *groups, *members, 1)
        self.query = _project(channels, attention_channels)
        self.key = _project(channels, attention_channels)
        self.value = nn.Conv2d(channels, channels, 1, bias=bias)
        self.out = ConvNormAct(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w], of whole windows, to the same shape."""
        height, width = self.window
        split = x.reshape(*x.shape[:2], x.shape[2] // height, height, x.shape[3] // width, width).permute(*self.order)
        shape = split.shape
        context = self.out(self._attend(split.flatten(3, 4).flatten(0, 2)))  # of a copy [B * groups, members, C]
        context = context.squeeze(2).transpose(1, 2).reshape(shape)
        context = context.permute(*(self.order.index(place) for place in range(6)))
        return in_layout_of(context.reshape(x.shape), x)

    def _attend(self, groups: Tensor) -> Tensor:
        """Map groups [G, members, C] to their contexts [G, C, 1, members]."""
        maps = groups.transpose(1, 2).unsqueeze(2)  # channels_last
        query, key, value = (project(maps).squeeze(2).transpose(1, 2) for project in (self.query, self.key, self.value))
        return attend_in_groups(query, key, value).transpose(1, 2).unsqueeze(2)


@register_segmentor("isanet", output_stride=8, auxiliary=Auxiliary())
class ISAHead(Head):
    """Interlaced sparse self-attention (Huang, Yuan, Guo, Zhang, Chen and Wang, 2019, arXiv:1907.12273).

    Attention among the pixels at the same place of every window, then among those of one window, so that each pixel
    gets information from all without the matrix of all pairs.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions and of the attention's values.
    attention_channels : int
        Channels of queries and keys.
    attention_bias : bool
        Whether the convolutions that make values have biases: False in SSSegmentation, True in MMSegmentation.
    window : sequence of int
        Height and width of a window, in pixels of the map; maps are padded with zeros to whole windows.
    fuse_kernel_size : int
        Kernel size of the convolution that fuses the map and its context: 3 in SSSegmentation, 1 in MMSegmentation.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        For a window that is not two positive numbers.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 256,
        attention_bias: bool = False,
        window: Sequence[int] = (8, 8),
        fuse_kernel_size: int = 3,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        if len(window) != 2 or min(window) < 1:
            raise ModelError(f"window must be a height and a width of at least 1, not {list(window)}")
        self.window = height, width = window[0], window[1]
        self.reduce = ConvNormAct(maps.channels[-1], channels, 3)
        self.distant, self.near = (
            GroupedAttention(channels, attention_channels, (height, width), distant=distant, bias=attention_bias)
            for distant in (True, False)
        )
        self.fuse = ConvNormAct(2 * channels, channels, fuse_kernel_size)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = self.reduce(features[-1])
        height, width = x.shape[-2:]
        more_rows, more_columns = (
            (length + window - 1) // window * window - length
            for length, window in zip((height, width), self.window, strict=True)
        )
        top, left = more_rows // 2, more_columns // 2
        context = F.pad(x, (left, more_columns - left, top, more_rows - top))
        context = self.near(self.distant(context))[..., top : top + height, left : left + width]
        return self.classifier(self.dropout(self.fuse(torch.cat([context, x], dim=1))))


def _project(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(in_channels, channels, 1), ConvNormAct(channels, channels, 1))
