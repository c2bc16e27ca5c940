"""BiSeNetV1's encoder: a spatial path, and a context path over a ResNet."""

from __future__ import annotations

from vitrail.checkpoints.sources.encoder import Encoder
from vitrail.checkpoints.sources.mmseg.backbones.resnet import DEEP_STEM
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES, check_norm, translate_backbone
from vitrail.checkpoints.sources.records import BackboneRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError
from vitrail.recipes import ModelConfig


def names(trunk: str, stem: Names, convolution: Names, pooled: Names, attention: Names) -> Names:
    """Return the names of a BiSeNetV1.

    Parameters
    ----------
    trunk : str
        The name of the ResNet.
    stem : Names
        Of the ResNet's stem.
    convolution, pooled, attention : Names
        Of the members of its convolutions, those after a pooling, and that of the fusion's attention.
    """
    refine: Names = {"conv_layer": ("conv", convolution), "atten_conv_layer": ("attention", pooled)}
    return {
        f"context_path.{trunk}": ("context.encoder.encoder", stem),
        "context_path.arm16": ("context.refine16", refine),
        "context_path.arm32": ("context.refine32", refine),
        "context_path.gap_conv": ("context.average", pooled),
        "context_path.conv_head32": ("context.smooth16", convolution),
        "context_path.conv_head16": ("context.smooth8", convolution),
        **{f"spatial_path.layer{i + 1}": (f"spatial.{i}", convolution) for i in range(4)},
        "ffm.conv1": ("fuse.join", convolution),
        "ffm.conv_atten": ("fuse.attention", attention),
    }


def translate(settings: Settings, kind: str) -> Encoder:
    """Return the encoder that a config's `backbone` section describes."""
    context = translate_backbone(settings.take("backbone_cfg"), None, settings.where)
    if context.output_stride or context.options:
        raise UnsupportedError(f"{settings.where} has a dilated context path")
    shape = context.name.removeprefix("resnet")
    deep, depth = shape.endswith("c"), shape.rstrip("c")
    narrow = depth == "18"
    settings.must_be("spatial_channels", (64, 64, 64, 128) if narrow else (256, 256, 256, 512))
    settings.must_be("context_channels", (128, 256, 512) if narrow else (512, 1024, 2048))
    settings.must_be("out_channels", 256 if narrow else 1024)
    settings.must_be("out_indices", (0, 1, 2))
    settings.must_be("align_corners", False)
    check_norm(settings, "BN", "SyncBN")
    options = {"deep_stem": True} if deep else {}
    return Encoder(f"bisenetv1_resnet{depth}", None, options, settings.take("in_channels", 3), order=(2, 0, 1))


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the stem of the ResNet."""
    stem = DEEP_STEM if model.backbone_options.get("deep_stem") else {}
    return Renaming(names("backbone", stem, {}, {"1": ""}, {"0": ""}))


BACKBONES.add("bisenetv1", BackboneRecord(("BiSeNetV1",), r"bisenetv1_\w+", translate, renaming), module=__name__)
