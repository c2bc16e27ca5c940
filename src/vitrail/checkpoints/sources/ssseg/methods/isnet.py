"""ISNet: context of the image and of the classes of its pixels."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    ATTENTION,
    METHODS,
    Config,
    Options,
    head_options,
    head_renaming,
    loss_weight,
    one_auxiliary,
)
from vitrail.recipes import ModelConfig

_NAMES: Names = {
    "bottleneck": ("head.project", CONV_NORM),
    "ilc_net.correlate_net": ("head.image_level", ATTENTION),
    "ilc_net.bottleneck": ("head.fuse_image_level", CONV_NORM),
    "slc_net.correlate_net": ("head.semantic_level", ATTENTION),
    "slc_net.bottleneck": ("head.fuse_semantic_level", CONV_NORM),
    "decoder_stage1": ("head.early_classifier.0", CONV_NORM),
    "decoder_stage1.4": "head.early_classifier.2",
}
# The last prediction, without and with a shortcut from the first map.
_PLAIN: Names = {"decoder_stage2.1": "head.classifier"}
_WITH_SHORTCUT: Names = {
    "shortcut": ("head.shortcut", CONV_NORM),
    "decoder_stage2": ("head.fuse", CONV_NORM),
    "decoder_stage2.4": "head.classifier",
}


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    shortcut = config["head"]["shortcut"]
    options = head_options(
        config, channels="feats_channels", inner_channels="transform_channels", fuse_input="concat_input"
    )
    options |= {
        "shortcut_channels": shortcut["feats_channels"] if shortcut["is_on"] else 0,
        "early_weight": loss_weight(config, "loss_cls_stage1"),
        "leaky": config["act_cfg"]["type"] == "LeakyReLU",
    }
    return options, one_auxiliary(config)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the shortcut."""
    last = _WITH_SHORTCUT if model.options.get("shortcut_channels") else _PLAIN
    return head_renaming({**_NAMES, **last})


METHODS.add("isnet", MethodRecord("ISNet", translate, renaming), module=__name__)
