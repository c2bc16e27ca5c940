"""Exporting needs torch 2.8, while the package takes older ones too."""

from __future__ import annotations

import pytest
from helpers.versions import CAN_EXPORT, needs_export


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of exporting where torch cannot."""
    if CAN_EXPORT:
        return
    for item in items:
        if "/tests/export/" in item.path.as_posix():
            item.add_marker(needs_export)
