"""Parameter groups: the learning rate, weight decay and warm-up of each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import timm.layers
from torch import nn

from vitrail.errors import TrainingError, nearest
from vitrail.recipes import OptimizerConfig, ParamRule, WarmupConfig
from vitrail.segmentors import Segmentor

# timm's norms that derive from none of PyTorch's; older releases lack some of them.
_TIMM_NORMS = (
    *("RmsNorm", "RmsNorm2d", "RmsNormFp32", "RmsNorm2dFp32"),
    *("SimpleNorm", "SimpleNorm2d", "SimpleNormFp32", "SimpleNorm2dFp32"),
    *("EvoNorm2dB0", "EvoNorm2dB1", "EvoNorm2dB2"),
    *("EvoNorm2dS0", "EvoNorm2dS0a", "EvoNorm2dS1", "EvoNorm2dS1a", "EvoNorm2dS2", "EvoNorm2dS2a"),
    *("FilterResponseNormTlu2d", "FilterResponseNormAct2d", "InplaceAbn"),
)
NORMS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,  # batch and instance norms, synchronised or not
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    *(getattr(timm.layers, name) for name in _TIMM_NORMS if hasattr(timm.layers, name)),
)


@dataclass(frozen=True)
class GroupSettings:
    """What learning rate and weight decay are multiplied by, and a warm-up in place of the schedule's."""

    lr: float
    weight_decay: float
    warmup: WarmupConfig | None = None


def parameter_groups(model: Segmentor, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Sort a model's trainable parameters into groups of equal learning rate, weight decay and warm-up.

    `config.rules` take the place of `backbone_lr`, `head_lr`, `decay_norms`, `decay_biases` and the schedule's warm-up
    for the parameters whose name contains the rule's `match`; later rules win. `layer_decay` applies on top, with the
    heads as one layer more. Normalisation layers are found by their type, biases by their name.

    Parameters
    ----------
    model : Segmentor
        Parameters that do not require a gradient are left out.
    config : OptimizerConfig
        The optimizer section of a recipe.

    Returns
    -------
    list of dict
        With "name", "params", "lr" and "weight_decay", and "warmup", the fields of a `WarmupConfig`, where a rule gives
        one; each parameter is in exactly one group, and the groups come in the order of their first parameter.

    Raises
    ------
    TrainingError
        When a rule matches no parameter, or no parameter requires a gradient.
    ModelError
        When `layer_decay` is set and the backbone does not define the depth of its layers.
    """
    names = [name for name, _ in model.named_parameters()]
    _check_rules(config.rules, names)
    norms = _norm_parameters(model)
    factors = _layer_factors(model, config.layer_decay)
    members: dict[GroupSettings, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = config.decay_norms if name in norms else config.decay_biases or not _is_bias(name)
        rate = config.backbone_lr if name.startswith("backbone.") else config.head_lr
        settings = _apply(config.rules, name, GroupSettings(rate, float(decays)))
        settings = replace(settings, lr=settings.lr * factors.get(name, 1.0))
        members.setdefault(settings, []).append((name, parameter))
    if not members:
        raise TrainingError("the model has no parameter that requires a gradient: there is nothing to train")
    return [
        {
            "name": _describe([name for name, _ in parameters], settings),
            "params": [parameter for _, parameter in parameters],
            "lr": config.lr * settings.lr,
            "weight_decay": config.weight_decay * settings.weight_decay,
            **({"warmup": settings.warmup.model_dump()} if settings.warmup else {}),
        }
        for settings, parameters in members.items()
    ]


def _norm_parameters(model: nn.Module) -> set[str]:
    """Return the names of the parameters that normalisation layers own themselves (not their activations)."""
    return {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }


def _is_bias(name: str) -> bool:
    """Whether a parameter is a bias: "bias", or "in_proj_bias" and its like."""
    leaf = name.rpartition(".")[2]
    return leaf == "bias" or leaf.endswith("_bias")


def _layer_factors(model: Segmentor, layer_decay: float | None) -> dict[str, float]:
    """Return the factor of each of the backbone's parameters; the heads, at depth `deepest + 1`, have 1."""
    if layer_decay is None:
        return {}
    depths = model.backbone.parameter_depths()
    head = max(depths.values()) + 1
    return {f"backbone.{name}": layer_decay ** (head - depth) for name, depth in depths.items()}


def _apply(rules: Sequence[ParamRule], name: str, settings: GroupSettings) -> GroupSettings:
    for rule in rules:
        if rule.match in name:
            settings = GroupSettings(
                settings.lr if rule.lr is None else rule.lr,
                settings.weight_decay if rule.weight_decay is None else rule.weight_decay,
                settings.warmup if rule.warmup is None else rule.warmup,
            )
    return settings


def _check_rules(rules: Sequence[ParamRule], names: Sequence[str]) -> None:
    for index, rule in enumerate(rules):
        if not any(rule.match in name for name in names):
            parts = {part for name in names for part in name.split(".") if not part.isdigit()}
            raise TrainingError(
                f"optimizer.rules.{index}: no parameter has {rule.match!r} in its name.{nearest(rule.match, parts)}"
            )


def _describe(names: Sequence[str], settings: GroupSettings) -> str:
    return ", ".join([" and ".join(dict.fromkeys(name.partition(".")[0] for name in names)), *_qualities(settings)])


def _qualities(settings: GroupSettings) -> Iterator[str]:
    if settings.lr != 1:
        yield f"lr ×{settings.lr:.4g}"
    if settings.weight_decay == 0:
        yield "no weight decay"
    elif settings.weight_decay != 1:
        yield f"weight decay ×{settings.weight_decay:.4g}"
    if settings.warmup:
        yield f"warm-up from {settings.warmup.start} to {settings.warmup.end}"
