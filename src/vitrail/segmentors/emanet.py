"""EMANet: features rebuilt from a few bases found by expectation maximisation (Li et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers.processes import mean_over_processes
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


class EMAttention(nn.Module):
    """Expectation-maximisation attention: pixels are rebuilt from a few bases fitted to them, without gradient.

    Parameters
    ----------
    channels : int
        Channels of pixels and bases.
    num_bases : int
        Number of bases.
    num_stages : int
        Number of expectation-maximisation steps.
    momentum : float
        Weight of a batch's fitted bases in the moving average of the initial bases.

    Attributes
    ----------
    bases : Tensor
        [C, num_bases], the initial bases of every image: a buffer, the same on all processes.
    """

    bases: Tensor

    def __init__(self, channels: int, *, num_bases: int, num_stages: int, momentum: float) -> None:
        super().__init__()
        if num_stages < 1:
            raise ModelError(f"num_stages must be at least 1, not {num_stages}")
        self.num_stages = num_stages
        self.momentum = momentum
        self.register_buffer("bases", F.normalize(torch.randn(channels, num_bases), dim=0))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Rebuild [B, C, h, w] from the bases; in training, also update the initial bases."""
        with torch.autocast(x.device.type, enabled=False):  # bases drift if rounded to half precision again and again
            pixels = x.flatten(2).to(self.bases.dtype)  # [B, C, N]
            bases = self.bases.expand(x.shape[0], -1, -1)  # [B, C, num_bases]
            for _ in range(self.num_stages):
                assignment = (pixels.transpose(1, 2) @ bases).softmax(dim=2)  # [B, N, num_bases]
                bases = F.normalize(pixels @ F.normalize(assignment, p=1, dim=1), dim=1)
            if self.training:
                self._update(bases)
            return (bases @ assignment.transpose(1, 2)).view_as(x).to(x.dtype)

    def _update(self, bases: Tensor) -> None:
        """Update the moving average of the initial bases with the mean over the batches of all processes."""
        fitted = F.normalize(mean_over_processes(bases.mean(dim=0)), dim=0)
        self.bases.copy_((1 - self.momentum) * self.bases + self.momentum * fitted)


@register_segmentor("emanet", output_stride=8, auxiliary=Auxiliary())
class EMAHead(Head):
    """EMANet (Li, Zhong, Wu, Yang, Lin and Liu, ICCV 2019, arXiv:1907.13426).

    Expectation-maximisation attention between convolutions, joined with the last feature map and classified.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions after the attention: 512 in SSSegmentation, 256 in MMSegmentation.
    attention_channels : int
        Channels of the attention.
    num_bases, num_stages, momentum
        As in `EMAttention`.
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
        attention_channels: int = 512,
        num_bases: int = 64,
        num_stages: int = 3,
        momentum: float = 0.1,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        in_channels = maps.channels[-1]
        self.reduce = ConvNormAct(in_channels, attention_channels, 3)
        # Lets features be negative. No gradient flows through the attention, so this keeps its initial weights.
        self.signed = nn.Conv2d(attention_channels, attention_channels, 1).requires_grad_(False)
        self.attention = EMAttention(attention_channels, num_bases=num_bases, num_stages=num_stages, momentum=momentum)
        self.restore = ConvNormAct(attention_channels, attention_channels, 1, apply_act=False)
        self.smooth = ConvNormAct(attention_channels, channels, 3)
        self.fuse = ConvNormAct(in_channels + channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        x = self.reduce(features[-1])
        rebuilt = self.restore(F.relu(self.attention(self.signed(x))))
        x = self.smooth(F.relu(x + rebuilt))
        return self.classifier(self.dropout(self.fuse(torch.cat([features[-1], x], dim=1))))
