"""A strategy: one device, with every gradient clipped on its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail import Strategy, register_strategy


@register_strategy("example_clip_each")
class ClipEach(Strategy):
    """One device; the gradient of each parameter is clipped on its own instead of all of them together."""

    def clip_grad_norm(self, model: nn.Module, max_norm: float) -> Tensor:
        """Scale each gradient to a norm of at most `max_norm`; return the common norm before."""
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        return torch.stack([nn.utils.clip_grad_norm_([parameter], max_norm) for parameter in parameters]).norm()
