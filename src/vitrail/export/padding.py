"""The padding of timm's encoders, computed in a form that programs for any size can be traced with.

Of variable sizes, timm's own forms make expressions that torch.export cannot write, or cannot simplify: they grow with
every layer, and tracing does not end within minutes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from timm.layers import padding

from vitrail.backbones.windows import ceil_divide, padded


@contextlib.contextmanager
def plain_padding() -> Iterator[None]:
    """Compute padding by whole numbers: TensorFlow's "same" padding, and padding up to a multiple."""
    divide, ceil = _division()
    with (
        mock.patch.object(padding, "get_same_padding", _same_padding),
        mock.patch.object(torch.SymInt, "__mod__", _modulo()),
        mock.patch.object(torch.SymInt, "__truediv__", divide),
        mock.patch.object(math, "ceil", ceil),
    ):
        yield


def _same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> int:
    """Return by how much an axis is padded on both sides together, so that 1 of `stride` positions is left."""
    span = (kernel_size - 1) * dilation + 1
    total = (ceil_divide(size, stride) - 1) * stride + span - size
    return total if span >= stride else max(total, 0)


def _modulo() -> Callable[[Any, Any], Any]:
    """Return `size % multiple` that recognises what is meant as the distance to the next multiple.

    Swin V2, DaViT, TinyViT and most other encoders with windows pad their maps by `(multiple - size % multiple) %
    multiple`; those that merge pairs of positions by `size % 2`.
    """
    remainder: Callable[[Any, Any], Any] = torch.SymInt.__mod__
    sizes: dict[tuple[object, int], torch.SymInt] = {}  # by `multiple - size % multiple`, and the multiple

    def modulo(dividend: torch.SymInt, divisor: Any) -> Any:
        if not isinstance(divisor, int):
            return remainder(dividend, divisor)
        size: Any = sizes.get((dividend.node.expr, divisor), dividend if divisor == 2 else None)
        rest = remainder(dividend, divisor) if size is None else padded(size, divisor) - size
        if isinstance(rest, torch.SymInt):
            sizes[(divisor - rest).node.expr, divisor] = dividend
        return rest

    return modulo


def _division() -> tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]:
    """Return `size / number`, and a `math.ceil` that rounds up what the first returned by whole numbers.

    MobileViT, EVA-02 and others compute so. A program can hold `math.ceil`, but a `.pt2` file cannot.
    """
    quotient: Callable[[Any, Any], Any] = torch.SymInt.__truediv__
    rounded_up: Callable[[Any], Any] = math.ceil
    terms: dict[object, tuple[Any, int]] = {}  # by the quotient

    def divide(size: torch.SymInt, divisor: Any) -> Any:
        result = quotient(size, divisor)
        if isinstance(divisor, int) and isinstance(result, torch.SymFloat):
            terms[result.node.expr] = size, divisor
        return result

    def ceil(value: Any) -> Any:
        known = terms.get(value.node.expr) if isinstance(value, torch.SymFloat) else None
        return rounded_up(value) if known is None else ceil_divide(*known)

    return divide, ceil
