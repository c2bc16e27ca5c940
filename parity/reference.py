"""What a comparison asks of a model of another toolbox, whichever toolbox it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class Losses:
    """The training losses of a model.

    Attributes
    ----------
    total : Tensor
        Their sum, to call `backward` on.
    terms : dict from str to float
        Each by its name in the toolbox.
    """

    total: Tensor
    terms: dict[str, float]


class Reference(ABC):
    """A model of another toolbox.

    Attributes
    ----------
    toolbox : str
        What the checkpoint source of the toolbox is called in vitrail.
    package : str
        The distribution that it is installed with.
    encoder : str
        The attribute of the model that holds its encoder.
    """

    toolbox: ClassVar[str]
    package: ClassVar[str]
    encoder: str = "backbone"

    @abstractmethod
    def build(self) -> nn.Module:
        """Build the model, without dropout, and without a download."""

    @abstractmethod
    def settings(self) -> str:
        """Return the text that says how the model is built, as the importer of the toolbox reads it."""

    def origin(self) -> str:
        """Return what computed the reference: the distribution and its version."""
        return f"{self.package} {version(self.package)}"

    @abstractmethod
    def logits(self, model: nn.Module, images: Tensor, *, at_image_size: bool) -> Tensor:
        """Return [B, K, h, w] of a model in evaluation mode: as its head computes them, or resized to the images."""

    @abstractmethod
    def losses(self, model: nn.Module, images: Tensor, targets: Tensor) -> Losses:
        """Return the losses of a model in training mode."""

    def training(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context in which the model can be trained: works around what stops it on a CPU or in float64."""
        return nullcontext()
