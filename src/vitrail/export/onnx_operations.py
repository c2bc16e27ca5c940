"""Operations that ONNX cannot express for any size of images, or that ONNX Runtime computes slowly, and their like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vitrail.layers.interpolation import cubic_matrix


class OnnxOperations(TorchFunctionMode):
    """Replaces operations that ONNX cannot express.

    Its `topk` takes a constant number of values: where the number depends on the size of the images, they are taken
    from all values in descending order.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run `function`, or its replacement."""
        if function is torch.Tensor.topk and isinstance(args[1], torch.SymInt):
            return _largest(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


class OnnxRuntimeOperations(OnnxOperations):
    """Replaces also what ONNX Runtime computes slowly on the CPU.

    PReLU becomes a sum of the positive and the scaled negative part, which takes a third of the time and lets the
    convolutions around it keep their own memory format. Bicubic interpolation, which ONNX Runtime computes pixel by
    pixel, becomes two matrix products. Other runtimes have their own kernels for both.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run `function`, or its replacement."""
        if function is torch.prelu:
            return _parametric_relu(*args, **(kwargs or {}))
        if function is F.interpolate:
            return _interpolate(*args, **(kwargs or {}))
        return super().__torch_function__(function, types, args, kwargs)


class OnnxGraph(nn.Module):
    """A graph with operations replaced.

    Parameters
    ----------
    graph : nn.Module
        The graph.
    operations : type of OnnxOperations
        Which operations are replaced.
    """

    def __init__(self, graph: nn.Module, operations: type[OnnxOperations] = OnnxOperations) -> None:
        super().__init__()
        self.wrapped = graph  # not "graph": the exported module has an attribute of that name
        self.operations = operations

    def forward(self, images: Tensor) -> Any:
        """Run the graph."""
        with self.operations():
            return self.wrapped(images)


def _largest(x: Tensor, k: torch.SymInt, dim: int = -1) -> torch.return_types.topk:
    """Return `x.topk(k, dim)` by sorting."""
    values, indices = x.sort(dim=dim, descending=True)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


def _parametric_relu(x: Tensor, weight: Tensor) -> Tensor:
    """Return `torch.nn.functional.prelu(x, weight)`, for [B, C, …] and weight [C] or [1]."""
    weight = weight.view(-1, *[1] * (x.ndim - 2))
    return x.clamp(min=0) + weight * x.clamp(max=0)


def _interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return `torch.nn.functional.interpolate` of the same arguments: to a size, bicubic, as matrix products."""
    if mode != "bicubic" or size is None or align_corners or antialias:
        return F.interpolate(x, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = cubic_matrix(x.shape[-2], height, x), cubic_matrix(x.shape[-1], width, x)
    return rows @ (x @ columns.transpose(0, 1))
