"""Leaky ReLUs in place of ReLUs."""

from __future__ import annotations

from torch import nn


def leak(module: nn.Module) -> None:
    """Replace every ReLU inside a module by a leaky one of slope 0.01, in place."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.LeakyReLU(0.01, inplace=child.inplace))
