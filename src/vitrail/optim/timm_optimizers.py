"""timm's optimizers under timm's names, with the arguments of their classes as options."""

from __future__ import annotations

from typing import Any

import timm.optim
from torch.optim import Optimizer

from vitrail.optim.optimizers import OPTIMIZERS, Groups, OptimizerBuilder
from vitrail.registry import copy_options

_PYTORCHS = ("sgd", "adam", "adamw")
_SET_ELSEWHERE = ("params", "lr", "weight_decay")


def register() -> None:
    """Register timm's optimizers that any training loop and device can use.

    Left out are second-order methods, which need a backward pass of their own; those of apex and bitsandbytes, which
    are compiled for certain GPUs; and Kron, whose random generator is not part of its state, so that a run could not
    be resumed exactly. The names "sgd", "adam" and "adamw" stay PyTorch's (timm's "sgd" has
    Nesterov's momentum; here that is "nesterov").
    """
    for name in map(str, timm.optim.list_optimizers()):
        info = timm.optim.get_optimizer_info(name)
        left_out = name in _PYTORCHS or info.second_order or isinstance(info.opt_class, str) or "kron" in name
        if not left_out:
            OPTIMIZERS.add(name, _builder(info), module=__name__)


def _builder(info: timm.optim.OptimInfo) -> OptimizerBuilder:
    kind: Any = info.opt_class

    def build(groups: Groups, lr: float, weight_decay: float, **options: Any) -> Optimizer:
        return timm.optim.create_optimizer_v2(groups, opt=info.name, lr=lr, weight_decay=weight_decay, **options)

    build.__doc__ = f"{info.description}; see `timm.optim.get_optimizer_info({info.name!r})`."
    copy_options(build, kind, leave_out=_SET_ELSEWHERE)
    return build
