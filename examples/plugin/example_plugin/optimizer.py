"""An optimizer: the sign of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from vitrail import register_optimizer


class SignDescent(Optimizer):
    """Steps of equal length in every weight, with decoupled weight decay."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update the parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"] * group["scale"])
        return loss


@register_optimizer("example_sign")
def sign_descent(groups: list[dict[str, Any]], lr: float, weight_decay: float, *, scale: float = 1.0) -> Optimizer:
    """Sign descent; `scale` multiplies the length of every step."""
    return SignDescent(groups, {"lr": lr, "weight_decay": weight_decay, "scale": scale})
