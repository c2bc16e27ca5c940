"""Replacement of ReLU by leaky ReLU."""

from __future__ import annotations

from torch import nn


def replace_relu_with_leaky_relu(module: nn.Module) -> None:
    """Replace every `nn.ReLU` inside a module by `nn.LeakyReLU(0.01)`, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.LeakyReLU(0.01, inplace=child.inplace))
