"""BiSeNetV2's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import Settings

RENAMING = Renaming(
    {
        "detail.detail_branch": "detail",
        "semantic.stage1.conv_first": "stem.first",
        "semantic.stage1.convs": "stem.convs",
        "semantic.stage1.fuse_last": "stem.fuse",
        **{
            f"semantic.stage{i}.*": (
                f"stage{i + 1}.*",
                {
                    "conv1": "gather",
                    "dwconv": "expand",
                    "conv2.0": "project",
                    "shortcut.0.depthwise_conv": "shortcut.0",
                    "shortcut.0.pointwise_conv": "shortcut.1",
                },
            )
            for i in (2, 3, 4)
        },
        "semantic.stage4_CEBlock.gap.1": "context.norm",
        "semantic.stage4_CEBlock.conv_gap": "context.project",
        "semantic.stage4_CEBlock.conv_last": "context.fuse",
        "bga.detail_dwconv.0.depthwise_conv": "aggregate.detail.0",
        "bga.detail_dwconv.0.pointwise_conv.conv": "aggregate.detail.1",
        "bga.detail_down": "aggregate.detail_down",
        "bga.semantic_conv.0": "aggregate.semantic_up",
        "bga.semantic_dwconv.0.depthwise_conv": "aggregate.semantic.0",
        "bga.semantic_dwconv.0.pointwise_conv.conv": "aggregate.semantic.1",
        "bga.conv": "aggregate.fuse",
    }
)


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    settings.must_be("detail_channels", (64, 64, 128))
    settings.must_be("semantic_channels", (16, 32, 64, 128))
    settings.must_be("semantic_expansion_ratio", 6)
    settings.must_be("bga_channels", 128)
    settings.must_be("out_indices", (0, 1, 2, 3, 4))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    return Encoder("bisenetv2", in_channels=settings.take("in_channels", 3), order=(4, 0, 1, 2, 3))


BACKBONES.add("bisenetv2", BackboneRecord(("BiSeNetV2",), r"bisenetv2", translate, RENAMING), module=__name__)
