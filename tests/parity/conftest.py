"""Fixtures of the comparisons with other implementations."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from parity.missing import MissingToolboxError


@pytest.fixture(scope="session")
def configs(reference_data: Path) -> Path:
    """SSSegmentation's published configurations."""
    return reference_data / "ssseg_configs.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the other toolboxes warn: what they are told of is for their authors."""
    for item in items:
        if item.get_closest_marker("parity"):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skip the tests whose toolbox is not installed."""
    try:
        yield
    except MissingToolboxError as error:
        pytest.skip(str(error))
