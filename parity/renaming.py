"""Renaming the tensors of toolboxes that vitrail has no importer for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]
Rules = Sequence[tuple[str, str | None]]


def rename(tensors: Mapping[str, Tensor], rules: Rules) -> State:
    """Return tensors under other names.

    A rule is a regular expression and its replacement, applied in order; None drops what matches.
    """
    state: State = {}
    for old, tensor in tensors.items():
        name: str | None = old
        for pattern, replacement in rules:
            if replacement is None:
                name = None if re.search(pattern, name) else name
            else:
                name = re.sub(pattern, replacement, name)
            if name is None:
                break
        if name is not None:
            assert name not in state, f"two tensors would be called {name}"
            state[name] = tensor
    return state


def join_projections(state: Mapping[str, Tensor], theirs: str, ours: str) -> State:
    """Put the projections of queries, keys and values one under the other: transformers keeps three where we keep one.

    `theirs` and `ours` stand before `q_proj.weight` and `weight`, and before the biases alike.
    """
    joined = dict(state)
    for kind in ("weight", "bias"):
        ends = [f"{theirs}{letter}_proj.{kind}" for letter in "qkv"]
        for name in [name for name in joined if name.endswith(ends[0])]:
            stem = name.removesuffix(ends[0])
            joined[f"{stem}{ours}{kind}"] = torch.cat([joined.pop(stem + end) for end in ends])
    return joined
