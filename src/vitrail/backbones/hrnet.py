"""HRNet: parallel branches at four resolutions, fused after every few blocks.

timm's modules with the fusion that segmentation weights were trained with: coarse branches are resized bilinearly to
the size of fine ones, for any image size (timm uses nearest upsampling and needs multiples of 32).

References
----------
J. Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2021, arXiv:1908.07919.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vitrail.backbones.backbone import Backbone
from vitrail.backbones.timm_bridge import TimmBackbone, register_family
from vitrail.backbones.timm_model import build_model
from vitrail.layers import enlarge, resize


class HRNet(TimmBackbone):
    """High-resolution network; see `hrnet`."""

    def __init__(self, model: Any, *, concat: bool) -> None:
        super().__init__(model, (1, 2, 3, 4))
        self.concat = concat
        if concat:
            self.channels = (sum(self.channels),) * 4
            self.strides = (self.strides[0],) * 4

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] into the branches' maps at strides 4, 8, 16 and 32."""
        net = self.encoder
        x = net.act1(net.bn1(net.conv1(images)))
        x = net.act2(net.bn2(net.conv2(x)))
        x = self._through(net.layer1, x)
        maps = self._stage(net.stage2, [transition(x) for transition in net.transition1])
        maps = self._stage(net.stage3, _branch_off(net.transition2, maps))
        maps = self._stage(net.stage4, _branch_off(net.transition3, maps))
        if not self.concat:
            return maps
        joined = torch.cat([resize(x, maps[0].shape[-2:]) for x in maps], dim=1)
        return [joined] * 4

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: only activations between blocks are stored, the others are recomputed."""
        self.grad_checkpointing = enable

    def _stage(self, modules: nn.Module, maps: list[Tensor]) -> list[Tensor]:
        for module in modules.children():
            if self.grad_checkpointing and torch.is_grad_enabled():
                maps = checkpoint(_exchange, module, maps, use_reentrant=False)
            else:
                maps = _exchange(module, maps)
        return maps


def _branch_off(transition: Any, maps: list[Tensor]) -> list[Tensor]:
    """Add a coarser branch that starts from the coarsest map."""
    return [maps[i] if isinstance(start, nn.Identity) else start(maps[-1]) for i, start in enumerate(transition)]


def _exchange(module: Any, maps: list[Tensor]) -> list[Tensor]:
    """Run the branches of a module, then fuse them: each gets the sum of all at its size and channels."""
    maps = [branch(x) for branch, x in zip(module.branches, maps, strict=True)]
    fused = []
    for i, layers in enumerate(module.fuse_layers):
        total = maps[i]
        for j, layer in enumerate(layers):
            if j < i:
                total = total + layer(maps[j])
            elif j > i:
                total = total + _enlarge(layer[:2](maps[j]), 2 ** (j - i), maps[i].shape[-2:])
        fused.append(F.relu(total))
    return fused


def _enlarge(x: Tensor, factor: int, size: torch.Size) -> Tensor:
    """Upsample bilinearly by `factor`, then resize to `size` where they differ by a few pixels."""
    return resize(enlarge(x, factor), size)


@register_family("hrnet")
def hrnet(name: str, *, pretrained: bool | str | Path = False, in_channels: int = 3, concat: bool = False) -> Backbone:
    """Build an HRNet (arXiv:1908.07919): maps of C, 2C, 4C and 8C channels at strides 4, 8, 16 and 32.

    Parameters
    ----------
    name : str
        timm's name: "hrnet_w18", "hrnet_w48", …; "hrnet_w18_small_v2" is what others call HRNetV2-W18-Small.
    pretrained : bool or path
        True downloads the published weights, a path reads a local file of timm's parameter names.
    in_channels : int
        Channels of the images.
    concat : bool
        Resize the four maps to the finest size and concatenate them, as SSSegmentation does; the result is returned
        four times.
    """
    return HRNet(build_model(name, pretrained=pretrained, in_chans=in_channels, head=""), concat=concat)
