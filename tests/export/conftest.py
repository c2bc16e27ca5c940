"""Exporting needs torch 2.8, while the package takes older ones too."""

from __future__ import annotations

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of exporting where torch cannot."""
    if callable(torch.export.Dim.DYNAMIC):
        return
    skip = pytest.mark.skip(reason="exporting needs torch 2.8")
    for item in items:
        if "/tests/export/" in item.path.as_posix():
            item.add_marker(skip)
