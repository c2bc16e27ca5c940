"""Base class of all encoders, and the registry of encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitrail.errors import ModelError
from vitrail.registry import Registry


class Backbone(nn.Module):
    """An encoder: images to feature maps, finest first.

    Attributes
    ----------
    channels : tuple of int
        Channels of each feature map.
    strides : tuple of int
        Stride of each feature map, in pixels of the image.
    stage_prefixes : tuple of tuple of str
        Prefixes of the parameter names of each stage, the stem first.
    inner_prefix : str
        Where a method extends an encoder by layers of its own: the prefix of the parameters of the encoder.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    stage_prefixes: tuple[tuple[str, ...], ...] = ()
    inner_prefix: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self._frozen_modules: set[str] = set()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images [B, 3, H, W] (any H, W >= 32, odd sizes included) into one map per entry of `channels`."""
        raise NotImplementedError

    def parameter_stages(self) -> dict[str, int]:
        """Return the stage of each parameter by name (0: stem, 1: first stage), for freezing."""
        stages = {}
        for name, _ in self.named_parameters():
            stage = next((i for i, prefixes in enumerate(self.stage_prefixes) if name.startswith(prefixes)), None)
            if stage is None:
                raise ModelError(f"backbone {type(self).__name__} does not define the stage of parameter {name!r}")
            stages[name] = stage
        return stages

    def parameter_depths(self) -> dict[str, int]:
        """Return the depth of each parameter by name (0: nearest to the image), for layer-wise learning rates."""
        return self.parameter_stages()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing: most activations are recomputed in the backward pass instead of stored.

        Batch norms process the recomputed activations twice, so their running statistics are updated twice per step.
        """
        self.grad_checkpointing = enable

    def _through(self, blocks: Iterable[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
        """Apply the blocks in order, each under activation checkpointing when it is enabled."""
        for block in blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x

    def freeze_stages(self, count: int) -> None:
        """Freeze the stem and the first `count` stages: no gradients, and norm statistics are not updated.

        Parameters
        ----------
        count : int
            Number of stages; 0 freezes the stem only.
        """
        frozen = {name for name, stage in self.parameter_stages().items() if stage <= count}
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._frozen_modules = {name.rpartition(".")[0] for name in frozen}
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, except for norms and other modules in frozen stages."""
        super().train(mode)
        for name in self._frozen_modules:
            self.get_submodule(name).training = False
        return self


BackboneBuilder = Callable[..., Backbone]
BACKBONES: Registry[BackboneBuilder] = Registry("backbone", ModelError, "vitrail.backbones")


def register_backbone(name: str) -> Callable[[BackboneBuilder], BackboneBuilder]:
    """Register a builder `(*, in_channels=3, …) -> Backbone` under `name`.

    A builder takes `output_stride` if the encoder can be dilated, and `pretrained` if it has published weights.
    """
    return BACKBONES.register(name)
