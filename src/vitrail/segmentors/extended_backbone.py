"""Base of the backbones that methods make of another one by adding layers to it."""

from __future__ import annotations

from vitrail.backbones import Backbone


class ExtendedBackbone(Backbone):
    """An encoder with layers of a method on top, which count as one more stage.

    Parameters
    ----------
    backbone : Backbone
        The encoder; it becomes the module `trunk`.
    """

    inner_prefix = "trunk."

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.trunk = backbone

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enable activation checkpointing in the encoder."""
        self.trunk.set_grad_checkpointing(enable)

    def parameter_depths(self) -> dict[str, int]:
        """Return the encoder's depths, and one more for what is added."""
        return self._extended(self.trunk.parameter_depths())

    def parameter_stages(self) -> dict[str, int]:
        """Return the encoder's stages, and one more for what is added."""
        return self._extended(self.trunk.parameter_stages())

    def _extended(self, trunk: dict[str, int]) -> dict[str, int]:
        last = max(trunk.values()) + 1
        own = {f"{self.inner_prefix}{name}": value for name, value in trunk.items()}
        return {name: own.get(name, last) for name, _ in self.named_parameters()}
