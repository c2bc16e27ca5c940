"""Functions of PyTorch that are computed by others, in a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Replacement(TorchFunctionMode, ABC):
    """Computes some functions of PyTorch by others of the same result, in a block."""

    @abstractmethod
    def replaced(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """Return what to call instead of `function` with positional arguments `args`, or `function` itself."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run `function`, or what replaces it."""
        return self.replaced(function, args)(*args, **(kwargs or {}))
