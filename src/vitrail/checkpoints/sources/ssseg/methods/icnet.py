"""ICNet: three branches at full, half and quarter resolution. The encoder is the larger part."""

from __future__ import annotations

from vitrail.checkpoints.sources.mmseg.backbones.resnet import DEEP_STEM
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, triples
from vitrail.checkpoints.sources.ssseg.heads import METHODS, Config, Options, fcn_names, head_options, loss_weight

_FUSION: Names = {"conv_low": ("low", CONV_NORM), "conv_high": ("high", CONV_NORM)}
RENAMING = Renaming(
    {
        "neck.cff_24": ("head.fuse_half", _FUSION),
        "neck.cff_12": ("head.fuse_full", _FUSION),
        "auxiliary_decoder.*": ("head.early.*", fcn_names(1)),
        "decoder": ("head.decoder", fcn_names(1)),
    }
)
ENCODER = Renaming(
    {
        "backbone_net": ("trunk.encoder", DEEP_STEM),
        "conv_sub1": ("branch_full", triples(3)),
        "conv_sub2": ("branch_half", CONV_NORM),
        "conv_sub4": ("branch_quarter", CONV_NORM),
        "ppm_net.branches.*": ("pyramid.stages.*", {"1": "1.conv", "2": "1.bn"}),
        "ppm_net.bottleneck": ("fuse", CONV_NORM),
    }
)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    options = head_options(config, channels="feats_channels", branch_channels="in_channels_list")
    return {**options, "early_weight": loss_weight(config, "loss_aux1")}, {}


METHODS.add("icnet", MethodRecord("ICNet", translate, RENAMING, encoder=ENCODER), module=__name__)
