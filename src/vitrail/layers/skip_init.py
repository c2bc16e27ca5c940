"""Build models without drawing random weights: those that a file fills, and those of which only shapes are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Those of `nn.init` which PyTorch hands over whole, and what all others draw with.
_DRAW = (nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_)
# `trunc_normal_` may draw numbers that these turn into normal ones within limits: of zeros they make zeros, slowly.
_TRANSFORM = (Tensor.erfinv_, Tensor.clamp_)


class SkipRandomInit(TorchFunctionMode):
    """Context in which parameters that would be drawn at random are zero instead.

    Drawing takes most of the time of building a large model. Buffers are drawn as ever, since not all of them are in
    files, and the state of PyTorch's generator is not touched by parameters.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        tensor = args[0] if args else options.get("tensor")
        if isinstance(tensor, nn.Parameter):
            if func in _DRAW:
                return nn.init.zeros_(tensor)
            if func in _TRANSFORM:
                return tensor
        return func(*args, **options)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Context in which modules are built on PyTorch's "meta" device, where tensors have shapes and no values."""
    with torch.device("meta"), SkipRandomInit():
        yield
