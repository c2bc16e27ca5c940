"""OCRNet: pixels attend to one vector per class (Yuan et al., ECCV 2020, arXiv:1909.11065)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import ObjectAttention, resize
from vitrail.losses import resized_loss
from vitrail.segmentors.fcn import FCNHead
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import Criterion, FeatureMaps, Head


@register_segmentor("ocrnet", output_stride=8)
class OCRHead(Head):
    """OCRNet (Yuan, Chen and Wang, ECCV 2020, arXiv:1909.11065).

    A coarse segmentation weights the pixels into one vector per class; pixels attend to these and are classified again.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the coarse segmentation reads the last but one, the final one the last. On HRNet
        both are the four maps concatenated (`backbone_options={"concat": True}`).
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of pixels and class vectors.
    attention_channels : int
        Channels of queries and keys.
    fuse_kernel_size : int
        Kernel size of the convolution that fuses a pixel and its context: 1 in the paper and in MMSegmentation, 3 in
        SSSegmentation.
    coarse_channels, coarse_kernel_size : int
        Of the coarse segmentation's convolution: 512 and 3 in SSSegmentation, 256 and 3 in MMSegmentation (on HRNet as
        many as the concatenated maps have, and 1).
    coarse_weight : float
        Weight of the coarse segmentation's loss.
    dropout : float
        Probability of dropping a channel before the classifiers.
    align_corners : bool
        How the logits are resized to the image.
    """

    one_output = True

    def __init__(
        self,
        maps: FeatureMaps,
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
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        self.coarse = FCNHead(
            maps,
            num_classes,
            index=-2,
            channels=coarse_channels,
            num_convs=1,
            kernel_size=coarse_kernel_size,
            dropout=dropout,
            align_corners=align_corners,
        )
        self.coarse_weight = coarse_weight
        self.pixels = ConvNormAct(maps.channels[-1], channels, 3)
        self.attention = ObjectAttention(channels, attention_channels)
        self.fuse = ConvNormAct(2 * channels, channels, fuse_kernel_size)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        return self._refine(features, self.coarse(features))

    def losses(self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """Return the losses `seg` of the final and `coarse` of the coarse segmentation."""
        coarse = self.coarse(features)
        terms = {"seg": (self._refine(features, coarse), 1.0), "coarse": (coarse, self.coarse_weight)}
        return {
            name: weight * resized_loss(criterion, logits, targets, align_corners=self.align_corners)
            for name, (logits, weight) in terms.items()
        }

    def _refine(self, features: Sequence[Tensor], coarse: Tensor) -> Tensor:
        pixels = self.pixels(features[-1])  # [B, C, h, w]
        coarse = resize(coarse, pixels.shape[-2:], align_corners=self.align_corners)
        weights = coarse.flatten(2).softmax(dim=2)  # [B, K, h * w], over the pixels of each class
        regions = weights @ pixels.flatten(2).transpose(1, 2)  # [B, K, C]
        context = self.attention(pixels, regions.transpose(1, 2).unsqueeze(3))
        return self.classifier(self.dropout(self.fuse(torch.cat([context, pixels], dim=1))))
