"""Parameters that other projects keep in pieces: renamed to `name#0`, `name#1`, … they are joined along axis 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def join_pieces(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters with every `name#0`, `name#1`, … joined in that order to `name`."""
    joined: dict[str, Tensor] = {name: value for name, value in state.items() if "#" not in name}
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, value in state.items():
        if "#" in name:
            whole, _, index = name.partition("#")
            pieces.setdefault(whole, {})[int(index)] = value
    for whole, parts in pieces.items():
        joined[whole] = torch.cat([parts[index] for index in range(len(parts))])
    return joined
