"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expand_home(path: str | Path) -> Path:
    """Return a path with ~ replaced by the home folder; ~name without such a user stays a name like any other."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises where there is no such user
