"""EMANet: features rebuilt from a few bases found by expectation maximisation (Li et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.backbones import Backbone
from vitrail.errors import ModelError
from vitrail.layers import ConvNormAct
from vitrail.layers.processes import mean_over_processes
from vitrail.segmentors.fcn import auxiliary_fcn
from vitrail.segmentors.segmentor import Head, Segmentor, register_segmentor


class EMAttention(nn.Module):
    """Expectation-maximisation attention: pixels and bases are fitted to each other in turns, without gradient.

    Parameters
    ----------
    channels : int
        Channels of pixels and bases.
    num_bases : int
        How many bases.
    num_stages : int
        How many turns.
    momentum : float
        Share of the fitted bases in the new initial ones after a training step.

    Attributes
    ----------
    bases : Tensor
        [C, num_bases], what every image starts from: a buffer, the same on all processes.
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
        """Rebuild [B, C, h, w] from the bases; in training, also move the initial bases."""
        with torch.autocast(x.device.type, enabled=False):  # bases drift if rounded to half precision again and again
            pixels = x.flatten(2).to(self.bases.dtype)  # [B, C, N]
            bases = self.bases.expand(x.shape[0], -1, -1)  # [B, C, num_bases]
            for _ in range(self.num_stages):
                assignment = (pixels.transpose(1, 2) @ bases).softmax(dim=2)  # [B, N, num_bases]
                bases = F.normalize(pixels @ F.normalize(assignment, p=1, dim=1), dim=1)
            if self.training:
                self._move(bases)
            return (bases @ assignment.transpose(1, 2)).view_as(x).to(x.dtype)

    def _move(self, bases: Tensor) -> None:
        """Move the initial bases towards the mean of those of the batch, over all processes."""
        fitted = F.normalize(mean_over_processes(bases.mean(dim=0)), dim=0)
        self.bases.copy_((1 - self.momentum) * self.bases + self.momentum * fitted)


class EMAHead(Head):
    """Expectation-maximisation attention between convolutions, joined with the last feature map and classified.

    Parameters
    ----------
    in_channels : int
        Channels of the feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions after the attention.
    attention_channels : int
        Channels of the attention.
    num_bases, num_stages, momentum
        Of the attention; see `EMAttention`.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        in_channels: int,
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
        self.reduce = ConvNormAct(in_channels, attention_channels, 3)
        # Lets features be negative. The attention passes no gradient on, so that this stays as it was initialised.
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


@register_segmentor("emanet", output_stride=8)
def emanet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    attention_channels: int = 512,
    num_bases: int = 64,
    num_stages: int = 3,
    momentum: float = 0.1,
    dropout: float = 0.1,
    aux_weight: float = 0.4,
    aux_channels: int = 512,
    align_corners: bool = False,
) -> Segmentor:
    """Build EMANet (Li, Zhong, Wu, Yang, Lin and Liu, ICCV 2019, arXiv:1907.13426).

    Parameters
    ----------
    backbone : Backbone
        The encoder.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the convolutions after the attention: 512 in SSSegmentation, 256 in MMSegmentation.
    attention_channels : int
        Channels of the attention.
    num_bases : int
        How many bases features are rebuilt from.
    num_stages : int
        How many turns of expectation maximisation.
    momentum : float
        Share of the fitted bases in the new initial ones after a training step.
    dropout : float
        Probability of dropping a channel before the classifiers.
    aux_weight : float
        Weight of the auxiliary head's loss; 0 leaves the head out.
    aux_channels : int
        Channels of the auxiliary head: 512 in SSSegmentation, 256 in MMSegmentation.
    align_corners : bool
        How the logits are resized to the image.
    """
    head = EMAHead(
        backbone.channels[-1],
        num_classes,
        channels=channels,
        attention_channels=attention_channels,
        num_bases=num_bases,
        num_stages=num_stages,
        momentum=momentum,
        dropout=dropout,
        align_corners=align_corners,
    )
    auxiliary = auxiliary_fcn(
        backbone, num_classes, aux_weight, channels=aux_channels, dropout=dropout, align_corners=align_corners
    )
    return Segmentor(backbone, head, auxiliary)
