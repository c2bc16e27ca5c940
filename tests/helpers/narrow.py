"""Narrow, shallow versions of timm's encoders under their own names, so that tests are quick."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from timm.models import _registry
from torch import nn


def narrowed(monkeypatch: pytest.MonkeyPatch, name: str, **shape: Any) -> str:
    """Give timm's encoder `name` other arguments than its own for the length of a test; return the name."""
    original = _registry._model_entrypoints[name]

    @functools.wraps(original)
    def narrow(pretrained: bool = False, **arguments: Any) -> nn.Module:
        return original(pretrained=pretrained, **(shape | arguments))

    monkeypatch.setitem(_registry._model_entrypoints, name, narrow)
    return name
