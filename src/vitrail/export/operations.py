"""Operations that some formats cannot express, or that their runtimes compute slowly, and what stands for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.layers.interpolation import cubic_matrix
from vitrail.runtime.replacement import Replacement


class SortedTopk(Replacement):
    """`topk` of a number of values that depends on the size of the images: from all values in descending order.

    ONNX takes a constant number only.
    """

    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """See `Replacement`."""
        variable = function is torch.Tensor.topk and isinstance(args[1], torch.SymInt)
        return _largest if variable else function


class PreluAsSum(Replacement):
    """PReLU as w x + (1 - w) max(x, 0), whose products are convolutions of one channel each.

    ONNX Runtime is slow at its own PReLU, and for it, as for products and maxima, it brings maps from the memory format
    of convolutions to another and back.
    """

    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """See `Replacement`."""
        return _prelu if function is torch.prelu else function


class PlainResizing(Replacement):
    """Bicubic resizing as two matrix products, and resizing by a factor as resizing to the size that it gives.

    ONNX Runtime computes bicubic resizing slowly, ExecuTorch in dozens of steps, and Core ML not at all; Core ML wants
    sizes instead of factors.
    """

    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """See `Replacement`."""
        return _interpolate if function is F.interpolate else function


Replacements: TypeAlias = tuple[type[Replacement], ...]

ONNX: Replacements = (SortedTopk,)
ONNX_RUNTIME: Replacements = (SortedTopk, PreluAsSum, PlainResizing)
DEVICES: Replacements = (PlainResizing,)  # of Core ML and ExecuTorch


class ReplacingGraph(nn.Module):
    """A graph that computes some operations by others.

    Parameters
    ----------
    graph : nn.Module
        The graph.
    replacements : tuple of types of Replacement
        What is replaced.
    """

    def __init__(self, graph: nn.Module, replacements: Replacements) -> None:
        super().__init__()
        self.wrapped = graph  # not "graph": the exported module has an attribute of that name
        self.replacements = replacements

    def forward(self, images: Tensor) -> Any:
        """Run the graph."""
        with contextlib.ExitStack() as stack:
            for replacement in self.replacements:
                stack.enter_context(replacement())
            return self.wrapped(images)


def _largest(x: Tensor, k: torch.SymInt, dim: int = -1) -> torch.return_types.topk:
    """Return `x.topk(k, dim)` by sorting."""
    values, indices = x.sort(dim=dim, descending=True)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


def _prelu(x: Tensor, weight: Tensor) -> Tensor:
    """Return `torch.nn.functional.prelu(x, weight)`, for [B, C, …] and weight [C] or [1]."""
    if x.ndim != 4:
        weight = weight.view(-1, *[1] * (x.ndim - 2))
        return weight * x + (1 - weight) * F.relu(x)
    channels = x.shape[1]
    weight = weight.expand(channels).view(channels, 1, 1, 1)
    return F.conv2d(x, weight, groups=channels) + F.conv2d(F.relu(x), 1 - weight, groups=channels)


def _interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return `torch.nn.functional.interpolate` of the same arguments."""
    if isinstance(scale_factor, float) and not (recompute_scale_factor or align_corners):
        read, target = _sizes(x.shape[2:], scale_factor)
        if read == list(x.shape[2:]) or (read and mode != "bicubic"):  # which reads a position further
            for dimension, length in enumerate(read, start=2):
                x = x.narrow(dimension, 0, length)
            size, scale_factor, recompute_scale_factor = target, None, None
    if mode != "bicubic" or size is None or align_corners or antialias:
        return F.interpolate(x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = cubic_matrix(x.shape[-2], height, x), cubic_matrix(x.shape[-1], width, x)
    return rows @ (x @ columns.transpose(0, 1))


def _sizes(size: Sequence[int], factor: float) -> tuple[list[int], list[int]]:
    """Return the part of a map that is read when its size is multiplied by a factor, and the size of the result.

    Half of 9 positions is 4, which are those of half of the first 8. Both are empty where sizes are variable, and where
    there is no such part.
    """
    if any(isinstance(length, torch.SymInt) for length in size):
        return [], []
    targets = [int(factor * length) for length in size]
    read = [target / factor for target in targets]
    if any(part != int(part) for part in read) or (factor > 1 and read != list(size)):
        return [], []
    return [int(part) for part in read], targets
