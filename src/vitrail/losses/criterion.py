"""The registry of losses, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.layers.resize import resize_logits
from vitrail.registry import Registry, check_arguments

LOSSES: Registry[Callable[..., nn.Module]] = Registry("loss", ModelError, "vitrail.losses")
Loss = TypeVar("Loss", bound=Callable[..., nn.Module])


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Register a module `(logits [B, K, H, W], targets [B, H, W]) -> scalar` under `name`; a `ResizingLoss` too."""
    return LOSSES.register(name)


class ResizingLoss(nn.Module):
    """Base class of losses that resize the logits themselves: logits [B, K, h, w] of another size than the targets.

    Resized logits of all classes are the largest tensor of a training step; a loss that never creates them needs less
    memory and time. Its `forward` takes `align_corners` as `torch.nn.functional.interpolate` does.
    """

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the loss of logits [B, K, h, w] for targets [B, H, W], 255 ignored; a scalar."""
        raise NotImplementedError


def resized_loss(
    criterion: Callable[..., Tensor], logits: Tensor, targets: Tensor, *, align_corners: bool = False
) -> Tensor:
    """Return the loss of logits [B, K, h, w] that are resized bilinearly to the targets [B, H, W].

    Parameters
    ----------
    criterion : callable
        A `ResizingLoss`, or any `(logits [B, K, H, W], targets [B, H, W]) -> scalar`, which gets resized logits.
    logits, targets : Tensor
    align_corners : bool
        As in `torch.nn.functional.interpolate`.
    """
    if isinstance(criterion, ResizingLoss):
        loss: Tensor = criterion(logits, targets, align_corners=align_corners)
        return loss
    return criterion(resize_logits(logits, targets.shape[-2:], align_corners=align_corners), targets)


class WeightedSum(ResizingLoss):
    """A weighted sum of losses of the same logits and targets.

    Parameters
    ----------
    terms : sequence of (nn.Module, float)
        The losses and their weights.
    """

    def __init__(self, terms: Sequence[tuple[nn.Module, float]]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(term for term, _ in terms)
        self.weights = tuple(weight for _, weight in terms)

    def forward(self, logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
        """Return the weighted sum for logits [B, K, h, w] and targets [B, H, W], 255 ignored."""
        values = [
            weight * resized_loss(term, logits, targets, align_corners=align_corners)
            for weight, term in zip(self.weights, self.terms, strict=True)
        ]
        return torch.stack(values).sum()


def list_losses() -> list[str]:
    """Return the names of the registered losses."""
    return list(LOSSES)


def create_criterion(terms: Sequence[tuple[str, float, Mapping[str, Any]]]) -> nn.Module:
    """Build a criterion, the weighted sum of losses given by name.

    Parameters
    ----------
    terms : sequence of (str, float, mapping)
        For each loss its name (one of `list_losses()`), its weight, and its keyword arguments.

    Returns
    -------
    nn.Module
        The weighted sum of the losses, a `ResizingLoss`.

    Raises
    ------
    ModelError
        For an unknown name or argument (the message names the nearest known one), and when there is no term.

    Examples
    --------
    >>> criterion = create_criterion([("cross_entropy", 1.0, {}), ("dice", 3.0, {"sigmoid": True})])
    """
    if not terms:
        raise ModelError("a criterion needs at least one loss")
    losses = []
    for name, weight, options in terms:
        loss = LOSSES[name]
        check_arguments(loss, options, f"loss {name!r}", ModelError)
        losses.append((loss(**options), weight))
    return WeightedSum(losses)
