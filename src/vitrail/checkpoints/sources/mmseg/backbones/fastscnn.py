"""Fast-SCNN's encoder."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, SEPARABLE, check_norm
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_BLOCK: Names = {"conv.0": "widen", "conv.1": "filter", "conv.2": "narrow"}


def names(separable: Names, convolution: Names, pooled: Names) -> Names:
    """Return the names of a Fast-SCNN.

    Parameters
    ----------
    separable, convolution, pooled : Names
        Of the members of its depthwise separable convolutions, its plain ones, and those of the pyramid.
    """
    return {
        "learning_to_downsample.conv": ("downsample.0", convolution),
        "learning_to_downsample.dsconv1": ("downsample.1", separable),
        "learning_to_downsample.dsconv2": ("downsample.2", separable),
        **{
            f"global_feature_extractor.bottleneck{group + 1}.{block}": (f"bottlenecks.{3 * group + block}", _BLOCK)
            for group in range(3)
            for block in range(3)
        },
        "global_feature_extractor.ppm.*": ("pool.stages.*", pooled),
        "global_feature_extractor.out": ("project", convolution),
        "feature_fusion.dwconv": ("fusion.smooth", convolution),
        "feature_fusion.conv_lower_res": ("fusion.deep", convolution),
        "feature_fusion.conv_higher_res": ("fusion.shallow", convolution),
    }


RENAMING = Renaming(names(SEPARABLE, {}, {}))


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    settings.must_be("downsample_dw_channels", (32, 48))
    settings.must_be("global_in_channels", 64)
    settings.must_be("global_block_channels", (64, 96, 128))
    settings.must_be("global_block_strides", (2, 2, 1))
    settings.must_be("global_out_channels", 128)
    settings.must_be("higher_in_channels", 64)
    settings.must_be("lower_in_channels", 128)
    settings.must_be("fusion_out_channels", 128)
    settings.must_be("out_indices", (0, 1, 2))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    return Encoder("fastscnn", in_channels=settings.take("in_channels", 3), order=(0, 1, 2))


BACKBONES.add("fastscnn", BackboneRecord(("FastSCNN",), r"fastscnn", translate, RENAMING), module=__name__)
