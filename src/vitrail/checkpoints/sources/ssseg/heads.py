"""What the records of SSSegmentation's methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vitrail.checkpoints.sources.layouts import UnnumberedWhenAlone
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.ssseg.encoders import CONV_NORM, POOLED
from vitrail.registry import Registry

Config = Mapping[str, Any]
Options = dict[str, Any]
# Options of the method's head, and its auxiliary heads as `vitrail.recipes.AuxiliaryConfig` has them.
Translate = Callable[[Config], tuple[Options, Options]]
MethodRecords = Registry[MethodRecord[Translate]]
METHODS: MethodRecords = Registry(
    "SSSegmentation method", UnsupportedError, "vitrail.checkpoints.sources.ssseg.methods"
)


def head_options(config: Config, **keys: str) -> Options:
    """Return options of ours by the names of the head's settings there."""
    head = config["head"]
    return {ours: head[theirs] for ours, theirs in {"dropout": "dropout", **keys}.items()}


def loss_weight(config: Config, loss: str) -> float:
    """Return the weight of a loss, 0 where there is none."""
    term = config["losses"].get(loss)
    term = term[0] if isinstance(term, list) else term
    return term["scale_factor"] if term else 0.0


def one_auxiliary(config: Config) -> Options:
    """Return the description of the one auxiliary head that most methods have."""
    auxiliary = config["auxiliary"]
    if not auxiliary:
        return {"weight": 0.0}
    if isinstance(auxiliary, list):
        raise UnsupportedError(f"vitrail's {config['type']} has one auxiliary head, not {len(auxiliary)}")
    return {"weight": loss_weight(config, "loss_aux"), "channels": [auxiliary["out_channels"]]}


def several_auxiliary(config: Config) -> Options:
    """Return the description of auxiliary heads on several maps, which weigh the same."""
    widths = [each["out_channels"] for each in config["auxiliary"]]
    return {"weight": loss_weight(config, "loss_aux1"), "channels": widths}


def with_auxiliary(**keys: str) -> Translate:
    """Return the translation of a method whose settings have counterparts here, and that has an auxiliary head.

    `keys` are the names of the head's settings there, by those of our options.
    """

    def translate(config: Config) -> tuple[Options, Options]:
        return head_options(config, channels="feats_channels", **keys), one_auxiliary(config)

    return translate


def fcn_names(num_convs: int, *, upsampled: bool = False) -> Names:
    """Return the names of an FCN written in one sequence.

    Convolution, norm and activation, and a resizing where `upsampled`, `num_convs` times; dropout; the classifier.
    """
    step = 4 if upsampled else 3
    return {
        **{f"{step * index}": f"convs.{index}.conv" for index in range(num_convs)},
        **{f"{step * index + 1}": f"convs.{index}.bn" for index in range(num_convs)},
        f"{step * num_convs + 1}": "classifier",
    }


def head_renaming(names: Names, *, auxiliary: Names | None = None, **settings: Any) -> Renaming:
    """Return the renaming of a model without its encoder.

    Parameters
    ----------
    names : Names
        Of what predicts.
    auxiliary : Names, optional
        Of an auxiliary head; None takes those of an FCN with one convolution.
    **settings
        Further arguments of `Renaming`.
    """
    heads = fcn_names(1) if auxiliary is None else auxiliary
    return Renaming(
        {**names, "auxiliary_decoder.*": ("auxiliary.*", heads), **NECK},
        before=(UnnumberedWhenAlone("auxiliary_decoder"),),
        **settings,
    )


def around_block(suffix: str, block: str, names: Names, **settings: Any) -> Renaming:
    """Return the renaming of a method that has a block between the two convolutions of an FCN head.

    Parameters
    ----------
    suffix : str
        How the names of the convolutions before and after the block end.
    block : str
        The name of the block.
    names : Names
        Of its modules.
    **settings
        Further arguments of `Renaming`.
    """
    return head_renaming(
        {
            f"conv_before_{suffix}": ("head.convs.0", CONV_NORM),
            block: ("head.context", names),
            f"conv_after_{suffix}": ("head.convs.1", CONV_NORM),
            **FUSED,
        },
        **settings,
    )


# A convolution that fuses maps, dropout and the classifier.
FUSED: Names = {"decoder": ("head.fuse", CONV_NORM), "decoder.4": "head.classifier"}
# Of plain transformers, whose maps it turns into a pyramid.
NECK: Names = {
    "feats_to_pyramid_net.upsample_4x": "backbone.neck.up4",
    "feats_to_pyramid_net.upsample_2x.0": "backbone.neck.up2",
}
# A pooling, and a convolution with a norm.
POOLED_STAGE: Names = {"1": "1.conv", "2": "1.bn"}
PYRAMID: Names = {"ppm_net.branches.*": ("head.pyramid.stages.*", POOLED_STAGE)}
# A block of self-attention: 1×1 convolutions with norms.
ATTENTION: Names = {
    "key_project.*": ("key.*", CONV_NORM),
    "query_project.*": ("query.*", CONV_NORM),
    "value_project": ("value.0", CONV_NORM),
    "out_project": ("out.0", CONV_NORM),
}


def context_names(module: str) -> Names:
    """Return the names of a context module that is an atrous pyramid or pyramid pooling."""
    return {
        f"{module}.bottleneck": ("head.context.fuse", CONV_NORM),
        f"{module}.global_branch": ("head.context.pool.1", POOLED),
        f"{module}.parallel_branches.*": ("head.context.branches.*", CONV_NORM),
        f"{module}.branches.*": ("head.context.pyramid.stages.*", POOLED_STAGE),
    }
