"""The blocks of an encoder, such as those of a transformer or of a ResNet's stages."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from vitrail.backbones.backbone import Backbone

# A module that holds more of the encoder's parameters, such as a stage, is divided into those in it.
_LARGEST_SHARE = 1 / 8
_SMALLEST_SHARE = 1 / 1000
# A module is not divided unless the modules in it hold so much of its parameters.
_SHARE_INSIDE = 1 / 2


def find_blocks(backbone: Backbone, in_channels: int = 3) -> dict[str, nn.Module]:
    """Return the blocks of an encoder by name, in their order: what can be sharded, or compiled, one by one.

    They are modules of several parts that a forward pass calls as a whole, each once, and whose parameters no other
    module has; none of them contains another. Where a module holds more than an eighth of the encoder's parameters, the
    modules in it are taken instead; those that hold less than a thousandth are left out. One forward pass of a small
    black image, without gradients and in evaluation mode, finds out what is called.

    Parameters
    ----------
    backbone : Backbone
        Left as it was.
    in_channels : int
        Channels of its images.
    """
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in backbone.named_modules()}
    total = sizes[""]
    called = [name for name in _called_once(backbone, in_channels) if sizes[name] >= _SMALLEST_SHARE * total]
    return {name: backbone.get_submodule(name) for name in _divided(called, sizes, total)}


def _called_once(backbone: Backbone, in_channels: int) -> list[str]:
    """Return the modules that can be blocks and that a forward pass of the encoder calls once, in this order."""
    calls: Counter[str] = Counter()
    handles = [
        module.register_forward_pre_hook(lambda module, args, name=name: calls.update([name]))
        for name, module in _of_several_parts(backbone)
    ]
    modes = [(module, module.training) for module in backbone.modules()]
    device = next(backbone.parameters()).device
    try:
        backbone.eval()
        with torch.no_grad():
            backbone(torch.zeros(1, in_channels, 64, 64, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:  # not train(), which would also put frozen norms in training mode
            module.training = training
    return [name for name, count in calls.items() if count == 1]


def _of_several_parts(backbone: Backbone) -> list[tuple[str, nn.Module]]:
    """Return the modules in the encoder that have modules in them, and share no parameter with what is outside."""
    everywhere = Counter(id(parameter) for _, parameter in backbone.named_parameters(remove_duplicate=False))
    found = []
    for name, module in backbone.named_modules():
        inside = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
        if module is not backbone and any(module.children()) and inside.items() <= everywhere.items():
            found.append((name, module))
    return found


def _divided(names: list[str], sizes: dict[str, int], total: int) -> list[str]:
    """Return the outermost of the modules, and in place of a large one the outermost in it."""
    chosen = []
    for name in names:
        if any(name.startswith(f"{other}.") for other in names):
            continue
        inner = _divided([other for other in names if other.startswith(f"{name}.")], sizes, total)
        inside = sum(sizes[other] for other in inner)
        divides = sizes[name] > _LARGEST_SHARE * total and inside >= _SHARE_INSIDE * sizes[name]
        chosen += inner if divides else [name]
    return chosen
