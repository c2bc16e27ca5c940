"""MCIBI++: a memory of the distribution of each class's features beyond the image."""

from __future__ import annotations

from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM
from vitrail.checkpoints.sources.ssseg.heads import (
    ATTENTION,
    METHODS,
    Config,
    Options,
    context_names,
    head_renaming,
    loss_weight,
    one_auxiliary,
)

_CLASSIFIER: Names = {"conv1": "0.conv", "bn1": "0.bn", "conv2": "2"}
RENAMING = head_renaming(
    {
        **context_names("context_within_image_module"),
        "self_attention": ("head.within", ATTENTION),
        "bottleneck": ("head.project", CONV_NORM),
        "memory_module.memory": "head.memory.statistics",
        "memory_module.downsample_before_sa": ("head.halve", CONV_NORM),
        "memory_module.self_attention": ("head.beyond", ATTENTION),
        "memory_module.bottleneck": ("head.fuse_beyond", CONV_NORM),
        "lateral_convs.*": ("head.laterals.*", CONV_NORM),
        "fpn_convs.*": ("head.smooth.*", CONV_NORM),
        "decoder_pr": ("head.pixel_classifier", _CLASSIFIER),
        "decoder_cwi": ("head.context_classifier", _CLASSIFIER),
        "decoder_cls": ("head.classifier", _CLASSIFIER),
    }
)
_KERNELS = {"kernel_size": "cls", "pixel_kernel_size": "pr", "context_kernel_size": "cwi"}


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    _check(head)
    within, pyramid, decoders = head["context_within_image"], head.get("fpn"), head["decoder"]
    options: Options = {
        "channels": head["feats_channels"],
        "inner_channels": head["transform_channels"],
        "context": within["type"] if within["is_on"] else "none",
        "dilations": within["cfg"]["dilations"],
        "pool_sizes": within["cfg"]["pool_scales"],
        "attend": within.get("use_self_attention", True),
        "pyramid_channels": pyramid["out_channels"] if pyramid else 0,
        "halve": head["downsample_before_sa"],
        "read_by_pixels": head.get("force_use_preds_pr", False),
        **{ours: decoders[name].get("kernel_size", 1) for ours, name in _KERNELS.items()},
        "pixel_weight": loss_weight(config, "loss_pr"),
        "context_weight": loss_weight(config, "loss_cwi"),
        "momentum": head["update_cfg"]["momentum_cfg"]["base_momentum"],
        "dropout": decoders["cls"]["dropout"],
        **_cascade(config["inference"]["tta"].get("cascade", {})),
    }
    return options, one_auxiliary(config)


def _cascade(cascade: Config) -> Options:
    """Return the options of coarse-to-fine inference."""
    weights = (cascade.get("forward_default_args") or {}).get("memory_gather_logits_weights")
    return {"passes": cascade.get("times", 1), **({"pass_weights": weights} if weights else {})}


def _check(head: Config) -> None:
    """Refuse what no published configuration uses."""
    pyramid = head.get("fpn")
    refused = {
        "a memory that is read by the most probable class alone": head["use_hard_aggregate"],
        "epochs in which the memory is read by the targets": head.get("warmup_epoch", 0) > 0,
        "a momentum that follows the learning rate": head["update_cfg"]["momentum_cfg"]["adjust_by_learning_rate"],
        "a memory that is joined after the feature pyramid": not head.get("fuse_memory_cwi_before_fpn", True),
        "another number of channels after the memory": head["out_channels"] != head["feats_channels"],
        "a feature pyramid of another width": pyramid and pyramid["feats_channels"] != 2 * head["feats_channels"],
        "different dropout": len({part["dropout"] for part in head["decoder"].values()}) > 1,
    }
    for what, found in refused.items():
        if found:
            raise UnsupportedError(f"vitrail's MCIBI++ has no {what}")


METHODS.add("mcibiplusplus", MethodRecord("MCIBIPlusPlus", translate, RENAMING), module=__name__)
