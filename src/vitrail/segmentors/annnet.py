"""ANNNet: pixels attend to averages over a few grids (Zhu et al., ICCV 2019, arXiv:1908.07678)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers.attention import attend
from vitrail.layers.pooling import AdaptiveAveragePool
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class AsymmetricNonLocalBlock(nn.Module):
    """Asymmetric non-local block: every pixel attends to averages over grids of a map; both are fused.

    Parameters
    ----------
    channels : int
        C, the channels of the attending map.
    out_channels : int
        Channels of the context and of the result.
    attention_channels : int
        D, the channels of queries, keys and values.
    pool_sizes : sequence of int
        Sides of the grids; the pixels attend to as many averages as the grids have cells.
    key_channels : int, optional
        Channels of another map that is attended to; None attends to the map itself, whose queries are its keys.
    bias : bool
        Whether the convolutions that make values and context have biases.
    apply_act : bool
        Whether the fusing convolution has a ReLU.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        attention_channels: int,
        pool_sizes: Sequence[int],
        *,
        key_channels: int | None = None,
        bias: bool,
        apply_act: bool,
    ) -> None:
        super().__init__()
        self.query = ConvNormAct(channels, attention_channels, 1)
        self.key = None if key_channels is None else ConvNormAct(key_channels, attention_channels, 1)
        self.value = nn.Conv2d(channels if key_channels is None else key_channels, attention_channels, 1, bias=bias)
        self.out = nn.Conv2d(attention_channels, out_channels, 1, bias=bias)
        self.fuse = ConvNormAct(out_channels + channels, out_channels, 1, apply_act=apply_act)
        self.pools = nn.ModuleList(AdaptiveAveragePool(size) for size in pool_sizes)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Map [B, C, h, w] to [B, out_channels, h, w]; `other` is the map with `key_channels` [B, C', h', w']."""
        attended = x if other is None else other
        query = self.query(x)
        key = self._pool(query if self.key is None else self.key(attended))
        value = self.value(self._pool(attended))  # linear, so the same as averaging values
        return self.fuse(torch.cat([self.out(attend(query, key, value)), x], dim=1))

    def _pool(self, x: Tensor) -> Tensor:
        """Return the cells of all grids, [B, C, S, 1]."""
        return torch.cat([pool(x).flatten(2) for pool in self.pools], dim=2).unsqueeze(3)


@register_segmentor("annnet", output_stride=8, auxiliary=Auxiliary())
class ANNHead(Head):
    """Asymmetric non-local network (Zhu, Xu, Bai, Huang and Bai, ICCV 2019, arXiv:1908.07678).

    The last map attends to the one before it (fusion block), and after a convolution to itself (pyramid block).

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last two.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels after the fusion.
    attention_channels : int
        Channels of queries, keys and values.
    attention_bias : bool
        Whether the convolutions that make values and context have biases: False in SSSegmentation, True in
        MMSegmentation.
    pool_sizes : sequence of int
        Sides of the grids that are attended to: (1, 3, 6, 8) in both toolboxes and the paper, 110 cells.
    dropout : float
        Probability of dropping a channel after the fusion.
    classifier_dropout : float
        The same before the classifier: 0 in SSSegmentation, as much as `dropout` in MMSegmentation.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        On a backbone with a single map.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 256,
        attention_bias: bool = False,
        pool_sizes: Sequence[int] = (1, 3, 6, 8),
        dropout: float = 0.1,
        classifier_dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(-2, "annnet")
        low, high = maps.channels[-2:]
        self.fusion = AsymmetricNonLocalBlock(
            high, high, attention_channels, pool_sizes, key_channels=low, bias=attention_bias, apply_act=False
        )
        self.dropout = nn.Dropout2d(dropout)
        self.reduce = ConvNormAct(high, channels, 3)
        self.context = AsymmetricNonLocalBlock(
            channels, channels, attention_channels, pool_sizes, bias=attention_bias, apply_act=True
        )
        self.classifier_dropout = nn.Dropout2d(classifier_dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = self.fusion(features[-1], features[-2])
        x = self.context(self.reduce(self.dropout(x)))
        return self.classifier(self.classifier_dropout(x))
