"""Fixtures of the comparisons with other implementations."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def configs(reference_data: Path) -> Path:
    """SSSegmentation's published configurations."""
    return reference_data / "ssseg_configs.json"
