"""ICNet: three branches at full, half and quarter resolution. The encoder is the larger part."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.mmseg.backbones.resnet import DEEP_STEM
from vitrail.checkpoints.sources.mmseg.encoders import check_norm, translate_backbone
from vitrail.checkpoints.sources.mmseg.heads import METHODS, Head, ModelSection, Translation, one_width, translation
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings

_FUSION: Names = {"conv_low": "low", "conv_high": "high"}
_HEAD: Names = {"conv_seg": "classifier"}
RENAMING = Renaming(
    {
        "neck.cff_24": ("head.fuse_half", _FUSION),
        "neck.cff_12": ("head.fuse_full", _FUSION),
        "auxiliary_head.*": ("head.early.*", _HEAD),
        "decode_head": ("head.decoder", _HEAD),
    }
)


def map_first(weight: Tensor) -> Tensor:
    """Bring the convolution over the four pooled maps and then the map itself to the map first [D, C + 4 D, k, k]."""
    pooled = 4 * len(weight)
    return torch.cat([weight[:, pooled:], weight[:, :pooled]], dim=1)


def map_last(weight: Tensor) -> Tensor:
    """Return the inverse of `map_first`."""
    own = weight.shape[1] - 4 * len(weight)
    return torch.cat([weight[:, own:], weight[:, :own]], dim=1)


ENCODER = Renaming(
    {
        "backbone": ("trunk.encoder", DEEP_STEM),
        "conv_sub1": "branch_full",
        "conv_sub2": "branch_half",
        "conv_sub4": "branch_quarter",
        "psp_modules": "pyramid.stages",
        "psp_bottleneck": "fuse",
    },
    (Change("fuse.conv.weight", map_first, map_last),),
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    cascade = Settings(model.values["backbone"], f"{model.where}.backbone")
    trunk = translate_backbone(cascade.take("backbone_cfg"), None, f"{model.where}.backbone.backbone_cfg")
    neck = Settings(model.values.get("neck") or {}, f"{model.where}.neck")
    neck.must_be("type", "ICNeck")
    check_norm(neck, "BN", "SyncBN")
    head = model.decode_head()
    early = [Head(values, f"{model.where}.auxiliary_head") for values in model.auxiliary_heads]
    for each in (head, *early):
        each.must_have_convolutions(1)
    branches = as_lists(cascade.take("out_channels", (64, 256, 256)))
    widths = [neck.take("out_channels"), *(each.channels for each in (head, *early))]
    options = {
        "channels": one_width(widths, model.where),
        "branch_channels": branches,
        "light_channels": cascade.take("light_branch_middle_channels", 32),
        "pool_channels": cascade.take("psp_out_channels", 512),
        "early_weight": first_weight(early[0].losses),
    }
    check_norm(cascade, "BN", "SyncBN")
    for settings in (cascade, neck):
        settings.must_be("align_corners", False)
    cascade.must_be("pool_scales", (1, 2, 3, 6))
    cascade.pass_over("type", "in_channels", "layer_channels", "init_cfg", "pretrained")
    neck.pass_over("in_channels")
    for settings in (cascade, neck, head.settings, *(each.settings for each in early)):
        settings.finish()
    return translation(head, trunk, options)


METHODS.add("icnet", MethodRecord("FCNHead", translate, RENAMING, over="ICNet", encoder=ENCODER), module=__name__)
