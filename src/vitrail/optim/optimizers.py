"""From the names and numbers of a recipe to an optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import SGD, Adam, AdamW, Optimizer

from vitrail.errors import TrainingError, nearest
from vitrail.optim.groups import Rule, parameter_groups
from vitrail.segmentors import Segmentor


def create_optimizer(
    model: Segmentor,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    backbone_lr: float = 1.0,
    head_lr: float = 1.0,
    decay_norms: bool = True,
    decay_biases: bool = True,
    layer_decay: float | None = None,
    rules: Sequence[Rule] = (),
) -> Optimizer:
    """Build an optimizer over a model's trainable parameters.

    Parameters
    ----------
    model : Segmentor
        The model; parameters that do not require a gradient are left out.
    name : {"sgd", "adam", "adamw"}
        "adam" adds the weight decay to the gradient, "adamw" shrinks the weights.
    lr, weight_decay : float
        Learning rate and weight decay of a parameter for which nothing else is said.
    momentum : float
        SGD only.
    betas, eps : tuple of float, float
        Adam and AdamW only.
    backbone_lr, head_lr, decay_norms, decay_biases, layer_decay, rules
        See `parameter_groups`.

    Raises
    ------
    TrainingError
        For an unknown name, a rule that matches nothing, or a model without anything to train.
    """
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        backbone_lr=backbone_lr,
        head_lr=head_lr,
        decay_norms=decay_norms,
        decay_biases=decay_biases,
        layer_decay=layer_decay,
        rules=rules,
    )
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
    if name == "adam":
        return Adam(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    if name == "adamw":
        return AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    raise TrainingError(f"unknown optimizer {name!r}.{nearest(name, ('sgd', 'adam', 'adamw'))}")
