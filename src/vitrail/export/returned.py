"""What an exported program returns: the values of all classes, class indices, or these with their probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from vitrail.inference.score_map import Output, above_threshold, to_probabilities

ExportOutput: TypeAlias = Literal["classes", "scores", "raw"]


@dataclass(frozen=True)
class Decision:
    """How the class of a pixel follows from the values of all classes.

    Attributes
    ----------
    output : {"logits", "probabilities", "scores"}
        What the values are.
    threshold : float, optional
        Of two classes: take the second one where its probability is higher than this; None takes the argmax.
    """

    output: Output
    threshold: float | None = None

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class of each pixel and its probability, [B, H, W] each, for values [B, K, H, W]."""
        if self.threshold is not None:
            return above_threshold(values.transpose(0, 1), self.output, self.threshold)
        return values.argmax(dim=1), probability_of_best(values, self.output)

    def shortfall(self, values: Tensor, classes: Tensor) -> Tensor:
        """Return by how much classes [B, H, W] that were chosen elsewhere fall short of being the right ones at most.

        It is the difference between the value of the class and the largest value, as a share of the largest magnitude;
        with a threshold, that of the probability from the threshold.
        """
        if self.threshold is None:
            own = values.gather(1, classes.unsqueeze(1)).squeeze(1)
            return (values.amax(dim=1) - own).max() / values.abs().max()
        second = to_probabilities(values.transpose(0, 1), self.output)[1]
        short = torch.where(classes.bool(), self.threshold - second, second - self.threshold)
        return short.clamp(min=0).max()


def probability_of_best(values: Tensor, output: str) -> Tensor:
    """Return the probability [B, H, W] of the best class, for values [B, K, H, W] as declared by `Head.output`."""
    best = values.amax(dim=1)
    if output == "logits":
        return 1 / (values - best.unsqueeze(1)).exp().sum(dim=1)
    if output == "scores":
        total = values.sum(dim=1)
        return torch.where(total > 0, best / total.clamp(min=torch.finfo(total.dtype).tiny), 1 / values.shape[1])
    return best


@dataclass(frozen=True)
class Returned(ABC):
    """What a program returns.

    Attributes
    ----------
    decision : Decision
        How a class is chosen.
    """

    decision: Decision

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""

    @abstractmethod
    def outputs(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for the values [B, K, H, W] of all classes."""

    @abstractmethod
    def classes(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """Return the class indices [B, H, W], int64, that outputs stand for."""

    @abstractmethod
    def difference(self, outputs: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """Return how far outputs are from those for `values`, as a share of the largest magnitude."""


class RawValues(Returned):
    """The values of all classes, float32 [B, K, H, W]."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the head declares them to be."""
        return (self.decision.output,)

    def outputs(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the values."""
        return (values,)

    def classes(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """Choose the class of each pixel."""
        return self.decision(outputs[0])[0].long()

    def difference(self, outputs: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """Return the largest difference of a value."""
        return (outputs[0] - values).abs().max() / values.abs().max()


class ClassIndices(Returned):
    """Class indices [B, H, W]: uint8, or int32 for more than 255 classes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Classes alone."""
        return ("classes",)

    def outputs(self, values: Tensor) -> tuple[Tensor, ...]:
        """Choose the class of each pixel."""
        return (self.decision(values)[0].to(_index_type(values)),)

    def classes(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """Return the first output."""
        return outputs[0].long()

    def difference(self, outputs: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """Return by how much a class falls short of being the right one."""
        return self.decision.shortfall(values, self.classes(outputs))


class ScoredClassIndices(ClassIndices):
    """Class indices, and the probability of each pixel's class, float32 [B, H, W]."""

    @property
    def names(self) -> tuple[str, ...]:
        """Classes and their probabilities."""
        return ("classes", "scores")

    def outputs(self, values: Tensor) -> tuple[Tensor, ...]:
        """Choose the class of each pixel."""
        classes, probability = self.decision(values)
        return classes.to(_index_type(values)), probability

    def difference(self, outputs: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """Return the larger one of what classes fall short by and of the largest difference of a probability."""
        short = self.decision.shortfall(values, self.classes(outputs))
        return torch.maximum(short, (outputs[1] - self.decision(values)[1]).abs().max())


RETURNED: Mapping[ExportOutput, type[Returned]] = {
    "raw": RawValues,
    "classes": ClassIndices,
    "scores": ScoredClassIndices,
}


def _index_type(values: Tensor) -> torch.dtype:
    return torch.uint8 if values.shape[1] <= 255 else torch.int32
