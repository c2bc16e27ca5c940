"""Building blocks that several methods share."""

from vitrail.layers.aspp import ASPP, default_dilations
from vitrail.layers.attention import ObjectAttention
from vitrail.layers.convolution import DepthwiseSeparableConv
from vitrail.layers.pyramid_pooling import PyramidPooling
from vitrail.layers.resize import enlarge, resize, resize_logits

__all__ = [
    "ASPP",
    "DepthwiseSeparableConv",
    "ObjectAttention",
    "PyramidPooling",
    "default_dilations",
    "enlarge",
    "resize",
    "resize_logits",
]
