"""PAN: pyramid attention on the last map, global attention for the finer ones (Li et al., BMVC 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers import resize
from vitrail.layers.interpolation import larger
from vitrail.layers.resize import is_variable, resize_variable
from vitrail.layers.up_block import initialise_decoder
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head

_STEPS = 3  # finer maps that the head reads


class PyramidAttention(nn.Module):
    """Feature pyramid attention: a map weighted by context of three sizes in one channel, plus its global mean.

    Parameters
    ----------
    in_channels, channels : int
        Of the map and of the result.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(in_channels, channels, 1, bias=True))
        self.project = ConvNormAct(in_channels, channels, 1, bias=True)
        self.down = nn.ModuleList(
            [
                ConvNormAct(in_channels, 1, 7, bias=True),
                ConvNormAct(1, 1, 5, bias=True),
                nn.Sequential(ConvNormAct(1, 1, 3, bias=True), ConvNormAct(1, 1, 3, bias=True)),
            ]
        )
        self.lateral = nn.ModuleList([ConvNormAct(1, 1, 7, bias=True), ConvNormAct(1, 1, 5, bias=True)])

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to [B, D, h, w]."""
        levels, coarse = list[Tensor](), x
        for conv in self.down:
            coarse = conv(_halved(coarse))
            levels.append(coarse)
        for lateral, level in zip(reversed(self.lateral), reversed(levels[:-1]), strict=True):
            coarse = lateral(level) + resize_variable(coarse, level.shape[-2:], align_corners=True)
        context = resize_variable(coarse, x.shape[-2:], align_corners=True)
        return context * self.project(x) + self.pooled(x)


def _halved(x: Tensor) -> Tensor:
    """Return the maxima of 2 × 2 pixels; a side of one pixel stays."""
    height, width = x.shape[-2:]
    if is_variable((height, width)):  # what is added to a side of one pixel is that pixel again
        x = F.pad(x, (0, larger(2 - width, 0), 0, larger(2 - height, 0)), mode="replicate")
        return F.max_pool2d(x, 2)
    window = [min(2, height), min(2, width)]
    return F.max_pool2d(x, window, window)


class GlobalAttentionUpsample(nn.Module):
    """Global attention upsample: a finer map, weighted by the global mean of the coarser one, is added to it.

    Parameters
    ----------
    in_channels, channels : int
        Of the finer map, and of the coarser one and the result.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvNormAct(channels, channels, 1, bias=True, apply_act=False), nn.Sigmoid()
        )
        self.project = ConvNormAct(in_channels, channels, 3, bias=True)

    def forward(self, finer: Tensor, coarse: Tensor) -> Tensor:
        """Map [B, C, H, W] and [B, D, h, w] to [B, D, H, W]."""
        return resize(coarse, finer.shape[-2:], align_corners=True) + self.project(finer) * self.gate(coarse)


@register_segmentor("pan", backbone="resnet34", output_stride=16)
class PANHead(Head):
    """Pyramid attention network (Li, Xiong, An and Wang, BMVC 2018, arXiv:1805.10180).

    Attention over a pyramid on the last map; the three finer maps are added, each weighted by the global mean of what
    is coarser. This is the decoder of segmentation_models_pytorch.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps, finest first; the head reads the last four, or as many as there are.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels inside the head.
    align_corners : bool
        How the logits are resized to the image; maps are always enlarged with aligned corners.
    """

    def __init__(self, maps: FeatureMaps, num_classes: int, *, channels: int = 32, align_corners: bool = True) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.attention = PyramidAttention(maps.channels[-1], channels)
        self.steps = nn.ModuleList(
            GlobalAttentionUpsample(width, channels) for width in reversed(maps.channels[-1 - _STEPS : -1])
        )
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)
        initialise_decoder(self, self.classifier)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest that is read."""
        last, *finer = reversed(features)
        x = self.attention(last)
        for step, feature in zip(self.steps, finer[:_STEPS], strict=True):
            x = step(feature, x)
        return self.classifier(x)
