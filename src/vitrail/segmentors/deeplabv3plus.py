"""DeepLabv3+: DeepLabv3 with separable convolutions and a decoder (Chen et al., ECCV 2018, arXiv:1802.02611)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from vitrail.layers import ASPP, DepthwiseSeparableConv, default_dilations, resize
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("deeplabv3plus", output_stride=16, auxiliary=Auxiliary())
class DeepLabV3PlusHead(Head):
    """DeepLabv3+ (Chen, Zhu, Papandreou, Schroff and Adam, ECCV 2018, arXiv:1802.02611).

    A separable atrous pyramid on the last feature map, joined with the finest map by separable convolutions.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps; the head reads the finest and the last.
    num_classes : int
        K, the number of classes.
    channels : int
        Channels of the pyramid and of the decoder: 256 in the paper, 512 in SSSegmentation and MMSegmentation.
    shortcut_channels : int
        Channels that the finest map is projected to.
    dilations : sequence of int, optional
        One branch each; 1 stands for a 1 x 1 convolution. None takes the published ones for the last map's stride:
        (1, 6, 12, 18) at 16, twice that at 8.
    separable : bool
        Whether the dilated convolutions are separable.
    depthwise_norm : bool
        Whether batch norm and ReLU follow the depthwise part of separable convolutions: False in
        segmentation_models_pytorch.
    fuse_kernel_size : int
        Side of the kernel of the convolution that fuses the branches: 1 in segmentation_models_pytorch.
    refine : bool
        Whether a separable convolution follows the pyramid, as in segmentation_models_pytorch.
    decoder_convs : int
        How many separable convolutions join the two maps: 1 in segmentation_models_pytorch.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How feature maps and logits are resized.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        channels: int = 512,
        shortcut_channels: int = 48,
        dilations: Sequence[int] | None = None,
        separable: bool = True,
        depthwise_norm: bool = True,
        fuse_kernel_size: int = 3,
        refine: bool = False,
        decoder_convs: int = 2,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        dilations = default_dilations(maps.strides[-1]) if dilations is None else dilations
        conv = partial(DepthwiseSeparableConv, depthwise_norm=depthwise_norm)
        self.pyramid = ASPP(
            maps.channels[-1],
            channels,
            dilations,
            separable=separable,
            depthwise_norm=depthwise_norm,
            fuse_kernel_size=fuse_kernel_size,
        )
        self.refine = conv(channels, channels) if refine else nn.Identity()
        self.shortcut = ConvNormAct(maps.channels[0], shortcut_channels, 1)
        widths = [channels + shortcut_channels, *[channels] * decoder_convs]
        self.decoder = nn.Sequential(*(conv(a, b) for a, b in pairwise(widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w] at the size of the finest map."""
        fine = self.shortcut(features[0])
        context = resize(self.refine(self.pyramid(features[-1])), fine.shape[-2:], align_corners=self.align_corners)
        return self.classifier(self.dropout(self.decoder(torch.cat([context, fine], dim=1))))
