"""TensorFlow's "same" padding of timm's encoders, in a form that programs for any size can be traced with."""

from __future__ import annotations

import contextlib
from unittest import mock

from timm.layers import padding


def plain_same_padding() -> contextlib.AbstractContextManager[object]:
    """Return a context in which timm computes its "same" padding by whole numbers.

    timm divides, rounds up and takes a maximum. Of variable sizes, these make expressions that grow with every layer:
    tracing EfficientNet takes more than eight minutes, instead of four seconds.
    """
    return mock.patch.object(padding, "get_same_padding", _same_padding)


def _same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> int:
    """Return by how much an axis is padded on both sides together, so that 1 of `stride` positions is left."""
    span = (kernel_size - 1) * dilation + 1
    total = ((size + stride - 1) // stride - 1) * stride + span - size
    return total if span >= stride else max(total, 0)
