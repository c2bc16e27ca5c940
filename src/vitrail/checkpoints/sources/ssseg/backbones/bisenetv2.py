"""BiSeNetV2's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES, CONV_NORM, Config, named_shape, triples

_SHAPES = {"bisenetv2": "bisenetv2"}
_DEPTHWISE: Names = {"0.depthwise_conv": "0.conv", "0.depthwise_bn": "0.bn"}
_BLOCK: Names = {
    "conv1": ("gather", CONV_NORM),
    "dwconv": ("expand", {"0": "0.conv", "1": "0.bn", "2": "1.conv", "3": "1.bn"}),
    "conv2": ("project", CONV_NORM),
    "shortcut": ("shortcut", {**_DEPTHWISE, "0.pointwise_conv": "1.conv", "0.pointwise_bn": "1.bn"}),
}
RENAMING = Renaming(
    {
        "detail.detail_branch.*": ("detail.*", triples(3)),
        "semantic.stage1.conv_first": ("stem.first", CONV_NORM),
        "semantic.stage1.convs": ("stem.convs", triples(3)),
        "semantic.stage1.fuse_last": ("stem.fuse", CONV_NORM),
        **{f"semantic.stage{i}.*": (f"stage{i + 1}.*", _BLOCK) for i in (2, 3, 4)},
        "semantic.stage4_CEBlock.gap.1": "context.norm",
        "semantic.stage4_CEBlock.conv_gap": ("context.project", CONV_NORM),
        "semantic.stage4_CEBlock.conv_last": ("context.fuse", CONV_NORM),
        "bga.detail_dwconv": ("aggregate.detail", {**_DEPTHWISE, "0.pointwise_conv": "1"}),
        "bga.detail_down": ("aggregate.detail_down", {"0": "0.conv", "1": "0.bn"}),
        "bga.semantic_conv": ("aggregate.semantic_up", CONV_NORM),
        "bga.semantic_dwconv": ("aggregate.semantic", {**_DEPTHWISE, "0.pointwise_conv": "1"}),
        "bga.conv": ("aggregate.fuse", CONV_NORM),
    }
)


def translate(values: Config) -> Encoder:
    """Return the encoder that a `backbone` section describes."""
    return Encoder(named_shape(_SHAPES, values), options={"pointwise_bias": False})


BACKBONES.add("bisenetv2", BackboneRecord(("BiSeNetV2",), r"bisenetv2", translate, RENAMING), module=__name__)
