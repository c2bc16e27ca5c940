"""FCN: a few convolutions on the last feature map (Long, Shelhamer and Darrell, CVPR 2015, arXiv:1411.4038)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import ModelError
from vitrail.layers import enlarge
from vitrail.layers.leaky import replace_relu_with_leaky_relu
from vitrail.segmentors.auxiliary import Auxiliary
from vitrail.segmentors.method import register_segmentor
from vitrail.segmentors.segmentor import FeatureMaps, Head


@register_segmentor("fcn", output_stride=8, auxiliary=Auxiliary())
class FCNHead(Head):
    """Fully convolutional network (Long, Shelhamer and Darrell, CVPR 2015, arXiv:1411.4038).

    Convolutions and a classifier on one feature map; also the auxiliary head of other methods.

    Parameters
    ----------
    maps : FeatureMaps
        The backbone's feature maps.
    num_classes : int
        K, the number of classes.
    index : int
        Which of the maps the head reads.
    channels : int
        Channels of the convolutions.
    num_convs : int
        How many convolutions precede the classifier.
    kernel_size, dilation : int
        Of those convolutions.
    concat_input : bool
        Whether one more convolution fuses the feature map with their result: True in MMSegmentation; SSSegmentation
        has no such convolution.
    upsample : int
        Factor by which the map is enlarged after each convolution.
    upsample_mode : {"nearest", "bilinear"}
        How.
    leaky : bool
        Whether the activations are leaky ReLUs.
    dropout : float
        Probability of dropping a channel before the classifier.
    align_corners : bool
        How the logits are resized to the image.

    Raises
    ------
    ModelError
        For an index without a map, and for `concat_input` with `upsample`: the maps to fuse would differ in size.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        num_classes: int,
        *,
        index: int = -1,
        channels: int = 512,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = False,
        upsample: int = 1,
        upsample_mode: Literal["nearest", "bilinear"] = "nearest",
        leaky: bool = False,
        dropout: float = 0.1,
        align_corners: bool = False,
    ) -> None:
        super().__init__(num_classes, align_corners=align_corners)
        maps.check_index(index, "index")
        if concat_input and upsample > 1:
            raise ModelError("concat_input needs upsample=1: an enlarged map cannot be fused with the feature map")
        self.index = index
        self.upsample = upsample
        self.upsample_mode = upsample_mode
        widths = [maps.channels[index], *[channels] * num_convs]
        self.convs = nn.Sequential(
            *(ConvNormAct(a, b, kernel_size, dilation=dilation) for a, b in itertools.pairwise(widths))
        )
        self.fuse = ConvNormAct(widths[0] + widths[-1], channels, kernel_size) if concat_input else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels if concat_input else widths[-1], num_classes, 1)
        if leaky:
            replace_relu_with_leaky_relu(self)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decode the backbone's maps into logits [B, K, h, w]."""
        # the classifier is pointwise: enlarging the logits equals enlarging its input
        return self._enlarge(self.classifier(self.dropout(self.pre_logits(features))))

    def pre_logits(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map [B, C, h, w] that is classified, before it is enlarged a last time."""
        feature = features[self.index]  # [B, C, h, w]
        x = feature
        for index, conv in enumerate(self.convs):
            x = conv(self._enlarge(x) if index else x)
        if self.fuse is not None:
            x = self.fuse(torch.cat([feature, x], dim=1))
        return x

    def _enlarge(self, x: Tensor) -> Tensor:
        if self.upsample == 1:
            return x
        if self.upsample_mode == "bilinear":
            return enlarge(x, self.upsample, align_corners=self.align_corners)
        return F.interpolate(x, scale_factor=float(self.upsample))
