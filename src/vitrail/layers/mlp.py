"""Multi-layer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.ModuleList):
    """Linear layers with ReLU between them.

    Parameters
    ----------
    widths : sequence of int
        Channels of the input, of every hidden layer and of the output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors [..., widths[0]] to [..., widths[-1]]."""
        *hidden, last = self
        for layer in hidden:
            x = layer(x).relu()
        return last(x)
