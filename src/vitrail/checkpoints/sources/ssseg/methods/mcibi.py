"""MCIBI: a memory of what each class looks like beyond the image."""

from __future__ import annotations

from torch import Tensor

from vitrail.checkpoints.sources.layouts import Change
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    ATTENTION,
    METHODS,
    Config,
    Options,
    context_names,
    fcn_names,
    head_options,
    head_renaming,
    loss_weight,
    one_auxiliary,
)
from vitrail.recipes import ModelConfig

_NAMES: Names = {
    "norm_layers": "backbone.norms",
    "downsample_backbone": ("head.halve", CONV_NORM),
    **context_names("context_within_image_module"),
    "bottleneck": ("head.project", CONV_NORM),
    "memory_module.memory": "head.memory.features",
    "memory_module.bottleneck": ("head.fuse_beyond", CONV_NORM),
    "memory_module.bottleneck_ms": ("head.fuse_within", CONV_NORM),
    "memory_module.self_attention": ("head.beyond", ATTENTION),
    "memory_module.self_attention_ms": ("head.within", ATTENTION),
    "decoder_stage1": ("head.early_classifier.0", CONV_NORM),
    "decoder_stage1.4": "head.early_classifier.2",
    "decoder_stage2": ("head.classifier.0", CONV_NORM),
    "decoder_stage2.4": "head.classifier.2",
}


def one_per_class(memory: Tensor) -> Tensor:
    """Take the second axis away from [K, 1, C]: room for several vectors of a class, of which there is always one."""
    return memory.squeeze(1)


def several_per_class(memory: Tensor) -> Tensor:
    """Return the inverse of `one_per_class`."""
    return memory.unsqueeze(1)


MEMORY = Change("head.memory.features", one_per_class, several_per_class)


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    momentum = head["update_cfg"]["momentum_cfg"]
    options = head_options(config, channels="feats_channels", inner_channels="transform_channels")
    options |= {
        "dilations": head["context_within_image"]["cfg"]["dilations"],
        "halve": head["downsample_backbone"]["stride"] > 1,
        "early_weight": loss_weight(config, "loss_cls_stage1"),
        "memory_weight": head["loss_cfg"]["scale_factor"] if head["use_loss"] else 0.0,
        # it follows the learning rate there: its value at the full one
        "momentum": momentum["base_momentum"] / momentum["base_lr"] * config["scheduler"]["optimizer"]["lr"],
        "leaky": config["act_cfg"]["type"] == "LeakyReLU",
    }
    return options, _auxiliary(config)


def _auxiliary(config: Config) -> Options:
    """Return the description of one auxiliary head, or of three alike."""
    auxiliary = config["auxiliary"]
    if not isinstance(auxiliary, list):
        return one_auxiliary(config)
    first = auxiliary[0]
    if any(each != first for each in auxiliary):
        raise UnsupportedError("the auxiliary heads of vitrail's MCIBI are alike")
    return {
        "weight": loss_weight(config, "loss_aux1"),
        "channels": [first["out_channels"]],
        "maps": list(range(len(auxiliary))),
        "num_convs": first["num_convs"],
        "upsample": first["upsample"]["scale_factor"],
    }


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on the auxiliary heads' convolutions and resizing."""
    heads = model.auxiliary
    auxiliary = fcn_names(heads.num_convs or 0, upsampled=(heads.upsample or 1) > 1)
    return head_renaming(_NAMES, auxiliary=auxiliary, layouts=(MEMORY,))


METHODS.add("mcibi", MethodRecord("MCIBI", translate, renaming), module=__name__)
