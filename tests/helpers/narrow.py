"""Narrow, shallow versions of timm's encoders under their own names, for the length of a test."""

from __future__ import annotations

from typing import Any

import pytest
from timm.models import _registry

from parity.narrow import narrow_builder


def narrowed(monkeypatch: pytest.MonkeyPatch, name: str, **shape: Any) -> str:
    """Give timm's encoder `name` other arguments than its own for the length of a test; return the name."""
    monkeypatch.setitem(_registry._model_entrypoints, name, narrow_builder(name, shape))
    return name
