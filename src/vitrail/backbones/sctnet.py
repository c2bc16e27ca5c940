"""SCTNet's encoder: a residual network whose deep blocks are transformer blocks made of convolutions.

References
----------
Z. Xu et al., "SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation", AAAI 2024,
arXiv:2312.17071.
"""

from __future__ import annotations

from pathlib import Path

import torch
from timm.layers import ConvNormAct, DropPath, trunc_normal_
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones.backbone import Backbone, register_backbone
from vitrail.backbones.residual import basic_stage
from vitrail.backbones.weights import load_local
from vitrail.layers import resize
from vitrail.layers.aggregation_pyramid import AggregationPyramid

_HEADS = 8
_KEYS = 64  # learned keys of an attention, over all heads
_LENGTH = 7  # pixels of a key, down or across
_DEPTH = 2  # residual blocks of a stage
_MLP_EPS = 1e-6
_ATTENTION_EPS = 1e-6


class ConvAttention(nn.Module):
    """Convolutional attention: similarity to learned strips of pixels in place of keys and values.

    Vertical and horizontal strips of seven pixels are keys, by convolution, and values, by the transposed kernel. The
    similarities are normalised over all positions by a softmax, and then within each head to a sum of one.

    Parameters
    ----------
    channels : int
        Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.down = nn.Parameter(trunc_normal_(torch.empty(_KEYS, channels, _LENGTH, 1), std=0.001))
        self.across = nn.Parameter(trunc_normal_(torch.empty(_KEYS, channels, 1, _LENGTH), std=0.001))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        x = self.norm(x)
        return _attend(x, self.down) + _attend(x, self.across)


def _attend(x: Tensor, kernel: Tensor) -> Tensor:
    """Return what the keys [K, C, a, b], which are the values too, give for a map [B, C, h, w]: the same shape."""
    padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
    similar = F.conv2d(x, kernel, padding=padding)  # [B, K, h, w]
    heads = similar.flatten(2).unflatten(1, (_HEADS, -1)).softmax(dim=3)
    weights = heads / (heads.sum(dim=2, keepdim=True) + _ATTENTION_EPS)
    weights = weights.flatten(1, 2).view_as(similar).to(similar.dtype)
    return F.conv2d(weights, kernel.transpose(0, 1), padding=padding)


class ConvFormerBlock(nn.Module):
    """Conv-former block: convolutional attention, and a feed-forward network of two 3×3 convolutions.

    Parameters
    ----------
    channels : int
        Channels of the map.
    drop_path_rate : float
        Probability of skipping either part for an image.
    """

    def __init__(self, channels: int, drop_path_rate: float) -> None:
        super().__init__()
        self.attention = ConvAttention(channels)
        self.norm = nn.BatchNorm2d(channels, eps=_MLP_EPS)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        x = x + self.drop_path(self.attention(x))
        return x + self.drop_path(self.conv2(F.gelu(self.conv1(self.norm(x)))))


class SCTNet(Backbone):
    """SCTNet without the transformer that it is trained to follow; see `sctnet_s`.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    channels : int
        C, the channels of the stem.
    pyramid_channels : int
        Channels of the levels of the pyramid.
    drop_path_rate : float
        Probability of skipping a part of a conv-former block for an image.
    """

    stage_prefixes = (
        ("stem.",),
        ("stage1.",),
        ("stage2.",),
        ("stage3.", "former3."),
        ("down.", "former4.", "former5.", "pyramid."),
    )

    def __init__(self, in_channels: int, channels: int, pyramid_channels: int, drop_path_rate: float) -> None:
        super().__init__()
        c = channels
        self.channels = (2 * c, 4 * c, 8 * c, 4 * c)
        self.strides = (8, 16, 32, 8)
        self.stem = nn.Sequential(
            ConvNormAct(in_channels, c, 3, stride=2, bias=True), ConvNormAct(c, c, 3, stride=2, bias=True)
        )
        self.stage1 = basic_stage(c, c, _DEPTH, bias=True)
        self.stage2 = basic_stage(c, 2 * c, _DEPTH, stride=2, bias=True)
        self.stage3 = basic_stage(2 * c, 4 * c, _DEPTH, stride=2, bias=True)
        self.former3 = ConvFormerBlock(4 * c, drop_path_rate)
        self.down = ConvNormAct(4 * c, 8 * c, 3, stride=2, bias=True)
        self.former4 = ConvFormerBlock(8 * c, drop_path_rate)
        self.former5 = ConvFormerBlock(8 * c, drop_path_rate)
        self.pyramid = AggregationPyramid(8 * c, pyramid_channels, 2 * c, parallel=False, bias=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into maps of stride 8, 16 and 32, and the first joined to the last's pyramid."""
        fine = self._through([self.stage1], self._through(self.stem, images))
        fine = self._through([self.stage2], fine.relu())
        middle = self._through([self.former3], self._through([self.stage3], fine.relu()).relu())
        coarse = self._through([self.former4], self._through([self.down], middle))
        coarse = self._through([self.former5], coarse.relu())
        context = resize(self._through([self.pyramid], coarse), fine.shape[-2:])
        return [fine, middle, coarse, torch.cat([fine, context], dim=1)]


@register_backbone("sctnet_s")
def sctnet_s(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """SCTNet-S (arXiv:2312.17071): 64, 128 and 256 channels, and 128 at stride 8 for the head.

    Parameters
    ----------
    pretrained : path, optional
        A local file of weights.
    in_channels : int
        Channels of the images.
    drop_path_rate : float
        Probability of skipping a part of a conv-former block for an image.
    """
    backbone = SCTNet(in_channels, 32, 64, drop_path_rate)
    load_local(backbone, "sctnet_s", pretrained)
    return backbone


@register_backbone("sctnet_b")
def sctnet_b(*, pretrained: bool | str | Path = False, in_channels: int = 3, drop_path_rate: float = 0.1) -> Backbone:
    """SCTNet-B (arXiv:2312.17071), twice as wide; the arguments are those of `sctnet_s`."""
    backbone = SCTNet(in_channels, 64, 128, drop_path_rate)
    load_local(backbone, "sctnet_b", pretrained)
    return backbone
