"""IDRNet: relations of classes found by intervention."""

from __future__ import annotations

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
    head_options,
    head_renaming,
    loss_weight,
    one_auxiliary,
)
from vitrail.recipes import ModelConfig

_NAMES: Names = {
    "bottleneck": ("head.project", CONV_NORM),
    **context_names("coarse_context_module"),
    "lateral_convs.*": ("head.laterals.*", CONV_NORM),
    "fpn_convs.*": ("head.smooth.*", CONV_NORM),
    "class_relations_mean": "head.relations.mean",
    "class_relations_var": "head.relations.variance",
    "selected_classes_counter": "head.relations.counts",
    "dl_cls_representations": "head.class_features",
    "idcontext_refiner": ("head.refine", ATTENTION),
    "decoder_stage1": ("head.early_classifier.0", CONV_NORM),
    "decoder_stage1.4": "head.early_classifier.2",
    "decoder_stage2": ("head.fuse", CONV_NORM),
    "decoder_stage2.4": "head.classifier",
}


def translate(config: Config) -> tuple[Options, Options]:
    """Return the options and the auxiliary heads that a configuration describes."""
    head = config["head"]
    context = head.get("coarse_context", {"type": "none"})
    pyramid = head.get("fpn")
    if pyramid and (head["use_fpn_before"] or pyramid["out_channels"] != pyramid["feats_channels"]):
        raise UnsupportedError("the feature pyramid of vitrail's IDRNet follows the context, with as many channels")
    options = head_options(
        config,
        channels="feats_channels",
        inner_channels="refine_idcontext_channels",
        attend_channels="refine_coarsecontext_channels",
        early_from_pixels="force_stage1_use_oripr",
        relation_momentum="clsrelation_momentum",
        class_momentum="dlclsreps_momentum",
    )
    given = {"dilations": "dilations", "pool_sizes": "pool_scales"}
    options |= {
        "context": context["type"],
        **{ours: context[theirs] for ours, theirs in given.items() if theirs in context},
        "attend": _attends(head) if context["type"] != "none" else "none",
        "pyramid_channels": pyramid["feats_channels"] if pyramid else 0,
        "early_weight": loss_weight(config, "loss_cls_stage1"),
    }
    return options, one_auxiliary(config)


def _attends(head: Config) -> str:
    before, after = (head[f"use_sa_on_coarsecontext_{when}"] for when in ("before", "after"))
    return "before" if before else "after" if after else "none"


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming, which depends on where the context attends to itself."""
    attends = model.options.get("attend", "after")
    attention: Names = {f"coarsecontext_refiner_{attends}": ("head.attention", ATTENTION)}
    return head_renaming({**_NAMES, **(attention if attends != "none" else {})})


METHODS.add("idrnet", MethodRecord("IDRNet", translate, renaming), module=__name__)
