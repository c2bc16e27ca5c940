"""Weights that depend on nothing but the names and shapes of a model's tensors, so that any machine makes the same."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def draw(name: str, shape: Shape) -> Tensor:
    """Return the float32 values of a tensor, uniformly distributed, with a scale that keeps activations in range.

    A value tells where it belongs: no two tensors, and no two elements of one, are alike.
    """
    # NumPy promises never to change what its legacy generator draws (NEP 19).
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    unit = torch.from_numpy(generator.random_sample(shape)).float()
    if name.endswith("running_var"):
        return unit + 0.5
    if len(shape) <= 1:
        centre, deviation = (0.0 if name.endswith(("bias", "running_mean")) else 0.7), 0.1
    elif len(shape) in (3, 4) and shape[0] == 1:  # position embeddings and the like
        centre, deviation = 0.0, 0.2
    else:
        centre, deviation = 0.0, math.prod(shape[1:]) ** -0.5
    return centre + (2 * unit - 1) * math.sqrt(3) * deviation


def draw_all(shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Return the values of every tensor, by name."""
    return {name: draw(name, shape) for name, shape in shapes.items()}


def floating_shapes(module: nn.Module, keep: tuple[str, ...] = ()) -> dict[str, Shape]:
    """Return the shapes of a module's floating-point tensors by name, without those whose names begin as in `keep`."""
    state = module.state_dict()
    return {
        name: tuple(value.shape)
        for name, value in state.items()
        if value.is_floating_point() and not name.startswith(keep)
    }


@torch.no_grad()
def randomise(module: nn.Module, keep: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Give a module's parameters and statistics drawn values, and return these.

    Tensors whose names begin as in `keep` keep their values.
    """
    values = draw_all(floating_shapes(module, keep))
    state = module.state_dict()
    for name, value in values.items():
        state[name].copy_(value)
    return values
