"""The padding of timm's encoders, computed in a form that programs for any size can be traced with.

Of variable sizes, timm's own forms make expressions that torch.export cannot simplify and that grow with every layer:
tracing EfficientNet takes more than eight minutes instead of four seconds.
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
    quotients = Quotients()
    with (
        mock.patch.object(padding, "get_same_padding", _same_padding),
        mock.patch.object(torch.SymInt, "__mod__", _remembering(torch.SymInt.__mod__)),
        mock.patch.object(torch.SymInt, "__truediv__", quotients.divide),
        mock.patch.object(math, "ceil", quotients.ceil),
    ):
        yield


class Quotients:
    """Computes `math.ceil(size / n)` of a variable size by whole numbers: a `.pt2` file cannot hold `math.ceil`."""

    def __init__(self) -> None:
        self._terms: dict[object, tuple[Any, int]] = {}  # by the quotient
        self._ceil: Callable[[Any], Any] = math.ceil
        truediv: Callable[[Any, Any], Any] = torch.SymInt.__truediv__

        def divide(size: torch.SymInt, divisor: Any) -> Any:
            quotient = truediv(size, divisor)
            if isinstance(divisor, int) and isinstance(quotient, torch.SymFloat):
                self._terms[quotient.node.expr] = size, divisor
            return quotient

        self.divide = divide  # a function, which becomes a method of SymInt

    def ceil(self, value: Any) -> Any:
        """Return `math.ceil(value)`."""
        terms = self._terms.get(value.node.expr) if isinstance(value, torch.SymFloat) else None
        return self._ceil(value) if terms is None else ceil_divide(*terms)


def _same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> int:
    """Return by how much an axis is padded on both sides together, so that 1 of `stride` positions is left."""
    span = (kernel_size - 1) * dilation + 1
    total = (ceil_divide(size, stride) - 1) * stride + span - size
    return total if span >= stride else max(total, 0)


def _remembering(remainder: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `size % multiple` that recognises what is meant as the distance to the next multiple.

    Swin V2, DaViT, TinyViT and most other encoders with windows pad their maps by `(multiple - size % multiple) %
    multiple`; those that merge pairs of positions by `size % 2`.
    """
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
