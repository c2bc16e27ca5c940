"""Fixtures of the comparisons with other implementations."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def configs(shared: Path) -> Path:
    """SSSegmentation's published configurations."""
    path = shared / "reference" / "ssseg_configs.json"
    if not path.is_file():
        pytest.skip(f"no SSSegmentation configurations: {path} does not exist")
    return path
