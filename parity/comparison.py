"""What a reference computes, and the check that our model computes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parity.case import Case, attribute, images_of, targets_of
from parity.weights import Shape, floating_shapes
from vitrail.segmentors import Segmentor

TOLERANCE = 1e-4
SPREAD = 1e-2
Sampler = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Values:
    """A tensor of the reference, whole or a sample of it.

    Attributes
    ----------
    shape : tuple of int
        Of the whole tensor.
    scale : float
        Its largest magnitude.
    values : Tensor
        The tensor, or what `sampler` takes of it.
    sampler : callable or None
        What to take of ours to compare with `values`; None takes everything.
    """

    shape: Shape
    scale: float
    values: Tensor
    sampler: Sampler | None = None

    @classmethod
    def whole(cls, tensor: Tensor) -> Values:
        """Return all the values of a tensor."""
        return cls(tuple(tensor.shape), tensor.abs().max().item(), tensor.detach().clone())

    def assert_close(self, actual: Tensor, what: str) -> None:
        """Fail unless our tensor differs by less than the tolerance, as a share of the largest magnitude."""
        assert tuple(actual.shape) == self.shape, f"{what}: {tuple(actual.shape)} is not {self.shape}"
        assert self.scale > 0, f"{what} proves nothing: the reference's is all zeros"
        taken = actual.detach() if self.sampler is None else self.sampler(actual.detach())
        error = (taken.double() - self.values.double()).abs().max().item() / self.scale
        assert error < TOLERANCE, f"{what} differs by {error:.1e} of the largest value"


@dataclass(frozen=True)
class Expected:
    """What a reference computes with drawn weights.

    Attributes
    ----------
    settings : str
        See `Reference.settings`.
    tensors : mapping from str to tuple of int
        The shapes of its floating-point tensors, by name.
    integers : mapping from str to tuple of int
        Those of the others.
    logits : mapping from (int, int) to Values
        By the size of the image.
    losses : mapping from str to float
        Every term.
    gradient : Values or None
        Of the encoder's first convolution.
    moves : mapping from str to Values
        How far a step moves a buffer, by our name of it.
    """

    settings: str
    tensors: Mapping[str, Shape]
    integers: Mapping[str, Shape]
    logits: Mapping[tuple[int, int], Values]
    losses: Mapping[str, float]
    gradient: Values | None
    moves: Mapping[str, Values]


def measure(case: Case, model: nn.Module) -> Expected:
    """Run a reference; it has done a training step afterwards."""
    reference = case.reference
    shapes = floating_shapes(model)
    integers = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in shapes}
    logits = {}
    model.eval()
    for size in case.sizes:
        with torch.no_grad():
            scores = reference.logits(model, images_of(size).float(), at_image_size=case.at_image_size)
        logits[size] = Values.whole(scores)
        assert_varied(scores, f"{case}: the reference's logits at {size}")
    losses: dict[str, float] = {}
    gradient, moves = None, {}
    if case.terms:
        model.to(case.dtype).train()
        before = {ours: attribute(model, theirs).clone() for ours, theirs in case.moves.items()}
        with reference.training(model), case.drawing():
            out = reference.losses(model, images_of(case.trained, 2).to(case.dtype), targets_of(case.trained))
            out.total.backward()
        losses = out.terms
        gradient = Values.whole(first_gradient(getattr(model, reference.encoder)))
        moves = {ours: Values.whole(attribute(model, theirs) - before[ours]) for ours, theirs in case.moves.items()}
    return Expected(reference.settings(), shapes, integers, logits, losses, gradient, moves)


def compare(case: Case, ours: Segmentor, expected: Expected) -> None:
    """Fail unless our model gives the reference's logits, losses, gradient and moved buffers."""
    compare_logits(case, ours, expected)
    if case.terms:
        compare_training(case, ours, expected)


@torch.no_grad()
def compare_logits(case: Case, ours: Segmentor, expected: Expected) -> None:
    """Compare in evaluation mode, in float32."""
    ours.eval()
    for size, values in expected.logits.items():
        images = images_of(size).float()
        scores = ours(images) if case.at_image_size else ours.head(ours.backbone(images))
        values.assert_close(scores, f"{case}: logits at {size}")


def compare_training(case: Case, ours: Segmentor, expected: Expected) -> None:
    """Compare every loss, the gradient of the encoder's first convolution, and how far a step moves buffers."""
    ours.to(case.dtype).train()
    before = {name: attribute(ours, name).clone() for name in case.moves}
    with case.drawing():
        losses = ours(images_of(case.trained, 2).to(case.dtype), targets_of(case.trained))
    assert set(losses) == {name for names in case.terms for name in names.split("+")}
    assert set(expected.losses) == {name for names in case.terms.values() for name in names.split("+")}
    for names, theirs in case.terms.items():
        value = sum(losses[name].item() for name in names.split("+"))
        wanted = sum(expected.losses[name] for name in theirs.split("+"))
        assert abs(value - wanted) <= TOLERANCE * abs(wanted), f"{case}: {names} is {value}, not {wanted}"
    torch.stack(list(losses.values())).sum().backward()
    assert expected.gradient is not None
    expected.gradient.assert_close(first_gradient(ours.backbone), f"{case}: the gradient of the first convolution")
    for name, move in expected.moves.items():
        move.assert_close(attribute(ours, name) - before[name], f"{case}: the change of {name}")


def first_gradient(model: nn.Module) -> Tensor:
    """Return the gradient of the first convolution."""
    gradient = next(parameter for parameter in model.parameters() if parameter.dim() == 4).grad
    assert gradient is not None
    return gradient


def assert_varied(scores: Tensor, what: str) -> None:
    """Fail when logits hardly vary over the image: they would agree whatever a model does."""
    spread = (scores - scores.mean(dim=(2, 3), keepdim=True)).abs().max() / scores.abs().max()
    assert spread > SPREAD, f"{what} prove nothing: they vary by {spread:.1e} of the largest"
