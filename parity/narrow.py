"""Narrow, shallow versions of timm's encoders under their own names, so that comparisons are quick."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from timm.models import _registry
from torch import nn


def narrow_builder(name: str, shape: dict[str, Any]) -> Callable[..., nn.Module]:
    """Return the builder of timm's encoder `name` with other defaults than its own."""
    original = _registry._model_entrypoints[name]

    @functools.wraps(original)
    def narrow(pretrained: bool = False, **arguments: Any) -> nn.Module:
        return original(pretrained=pretrained, **(shape | arguments))

    return narrow


@contextmanager
def narrowed(name: str, **shape: Any) -> Iterator[None]:
    """Give timm's encoder `name` other arguments than its own."""
    with mock.patch.dict(_registry._model_entrypoints, {name: narrow_builder(name, shape)}):
        yield
