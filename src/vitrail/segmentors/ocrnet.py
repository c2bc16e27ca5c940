"""OCRNet: pixels attend to one vector per class (Yuan et al., ECCV 2020, arXiv:1909.11065)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.backbones import Backbone
from vitrail.layers import ConvNormAct, ObjectAttention, resize, resize_logits
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.segmentor import Criterion, Head, Segmentor, register_segmentor


class OCRHead(Head):
    """A coarse segmentation gathers one vector per class; pixels attend to these and are classified again.

    Parameters
    ----------
    coarse : FCNHead
        Makes the coarse segmentation.
    in_channels : int
        Channels of the last feature map.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of pixels and class vectors.
    attention_channels : int
        Channels in which they are compared.
    fuse_kernel_size : int
        Of the convolution that joins a pixel and its context.
    coarse_weight : float
        Weight of the coarse segmentation's loss.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.
    """

    def __init__(
        self,
        coarse: FCNHead,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 512,
        attention_channels: int = 256,
        fuse_kernel_size: int = 3,
        coarse_weight: float = 0.4,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.coarse = coarse
        self.coarse_weight = coarse_weight
        self.pixels = ConvNormAct(in_channels, channels, 3)
        self.attention = ObjectAttention(channels, attention_channels)
        self.fuse = ConvNormAct(2 * channels, channels, fuse_kernel_size)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self._refine(features, self.coarse(features))

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses of the final and of the coarse segmentation."""
        coarse = self.coarse(features)
        terms = {"seg": (self._refine(features, coarse), 1.0), "coarse": (coarse, self.coarse_weight)}
        size = targets.shape[-2:]
        return {
            name: weight * criterion(resize_logits(logits, size, align_corners=self.align_corners), targets)
            for name, (logits, weight) in terms.items()
        }

    def _refine(self, features: Sequence[Tensor], coarse: Tensor) -> Tensor:
        pixels = self.pixels(features[-1])  # [B, C, h, w]
        coarse = resize(coarse, pixels.shape[-2:], align_corners=self.align_corners)
        shares = coarse.flatten(2).softmax(dim=2)  # [B, K, h * w]: where each class lies
        regions = shares @ pixels.flatten(2).transpose(1, 2)  # [B, K, C]
        context = self.attention(pixels, regions.transpose(1, 2).unsqueeze(3))
        return self.classifier(self.dropout(self.fuse(torch.cat([context, pixels], dim=1))))


@register_segmentor("ocrnet", output_stride=8)
def ocrnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    attention_channels: int = 256,
    fuse_kernel_size: int = 3,
    coarse_channels: int = 512,
    coarse_kernel_size: int = 3,
    coarse_weight: float = 0.4,
    dropout: float = 0.0,
    align_corners: bool = False,
) -> Segmentor:
    """Build OCRNet (Yuan, Chen and Wang, ECCV 2020, arXiv:1909.11065).

    Parameters
    ----------
    backbone : Backbone
        The encoder; the coarse segmentation reads its last map but one, the final one its last. On HRNet both are the
        four maps joined (`backbone_options={"concat": True}`).
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of pixels and class vectors.
    attention_channels : int
        Channels in which they are compared.
    fuse_kernel_size : int
        Of the convolution that joins a pixel and its context: 1 in the paper and in MMSegmentation, 3 in
        SSSegmentation.
    coarse_channels, coarse_kernel_size : int
        Of the coarse segmentation's convolution: 512 and 3 in SSSegmentation, 256 and 3 in MMSegmentation (on HRNet as
        many as the joined maps have, and 1).
    coarse_weight : float
        Weight of the coarse segmentation's loss.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How the logits are resized to the image.
    """
    coarse = FCNHead(
        backbone.channels[-2],
        num_classes,
        index=-2,
        channels=coarse_channels,
        num_convs=1,
        kernel_size=coarse_kernel_size,
        dropout=dropout,
        align_corners=align_corners,
    )
    head = OCRHead(
        coarse,
        backbone.channels[-1],
        num_classes,
        channels=channels,
        attention_channels=attention_channels,
        fuse_kernel_size=fuse_kernel_size,
        coarse_weight=coarse_weight,
        dropout=dropout,
        align_corners=align_corners,
    )
    return Segmentor(backbone, head)
