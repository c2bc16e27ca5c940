"""The registry of optimizers, with PyTorch's SGD, Adam and AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.optim import SGD, Adam, AdamW, Optimizer

from vitrail.errors import TrainingError
from vitrail.optim.groups import parameter_groups
from vitrail.recipes import OptimizerConfig
from vitrail.registry import Registry, check_arguments
from vitrail.segmentors import Segmentor

Groups = list[dict[str, Any]]
OptimizerBuilder = Callable[..., Optimizer]
Builder = TypeVar("Builder", bound=OptimizerBuilder)
OPTIMIZERS: Registry[OptimizerBuilder] = Registry("optimizer", TrainingError, "vitrail.optim")


def register_optimizer(name: str) -> Callable[[Builder], Builder]:
    """Register a builder `(groups, lr, weight_decay, *, …) -> Optimizer` under `name`.

    `groups` are parameter groups with "params", "lr" and "weight_decay"; `lr` and `weight_decay` are the defaults of
    the recipe. The builder's keyword-only parameters are what `optimizer.options` of a recipe can set.
    """
    return OPTIMIZERS.register(name)


def list_optimizers() -> list[str]:
    """Return the names of the optimizers."""
    return list(OPTIMIZERS)


def create_optimizer(model: Segmentor, config: OptimizerConfig) -> Optimizer:
    """Build an optimizer over a model's trainable parameters.

    Parameters
    ----------
    model : Segmentor
        The model; parameters that do not require a gradient are left out.
    config : OptimizerConfig
        The optimizer section of a recipe.

    Raises
    ------
    TrainingError
        For an unknown name or option, a value that the optimizer refuses, a rule that matches nothing, or a model
        without trainable parameters.
    ModelError
        When `layer_decay` is set and the backbone does not define the depth of its layers.

    Examples
    --------
    >>> optimizer = create_optimizer(model, OptimizerConfig(name="lion", lr=1e-4, options={"betas": [0.95, 0.98]}))
    """
    builder = OPTIMIZERS[config.name]
    check_arguments(builder, config.options, f"optimizer {config.name!r}", TrainingError)
    groups = parameter_groups(model, config)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in config.options.items()}
    try:
        return builder(groups, config.lr, config.weight_decay, **options)
    except ValueError as error:  # how PyTorch's and timm's optimizers refuse a value
        raise TrainingError(f"optimizer {config.name!r}: {error}") from error


@register_optimizer("sgd")
def sgd(
    groups: Groups,
    lr: float,
    weight_decay: float,
    *,
    momentum: float = 0.9,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """Stochastic gradient descent; see `torch.optim.SGD`."""
    return SGD(
        groups,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
        fused=_fused(groups),
    )


@register_optimizer("adam")
def adam(
    groups: Groups,
    lr: float,
    weight_decay: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam, which adds the weight decay to the gradient; see `torch.optim.Adam`."""
    return Adam(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, fused=_fused(groups))


@register_optimizer("adamw")
def adamw(
    groups: Groups,
    lr: float,
    weight_decay: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with decoupled weight decay; see `torch.optim.AdamW`."""
    return AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, fused=_fused(groups))


def _fused(groups: Groups) -> bool | None:
    """Return whether one fused kernel can update all parameters: True on CUDA, None (PyTorch's choice) elsewhere.

    Unlike the others, fused optimizers also scale float16 gradients back without waiting for the device.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    return True if all(p.is_cuda and p.is_floating_point() for p in parameters) else None
