"""Building blocks that several methods share."""

from vitrail.layers.aspp import ASPP, default_dilations
from vitrail.layers.attention import ObjectAttention, attend
from vitrail.layers.convolution import DepthwiseSeparableConv
from vitrail.layers.criss_cross import CrissCrossAttention
from vitrail.layers.non_local import NonLocalBlock
from vitrail.layers.pyramid_pooling import PyramidPooling
from vitrail.layers.resize import enlarge, resize, resize_logits

__all__ = [
    "ASPP",
    "CrissCrossAttention",
    "DepthwiseSeparableConv",
    "NonLocalBlock",
    "ObjectAttention",
    "PyramidPooling",
    "attend",
    "default_dilations",
    "enlarge",
    "resize",
    "resize_logits",
]
