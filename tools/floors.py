"""Print the oldest supported versions of packages, as pip takes them: `python tools/floors.py torch timm`."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def floor(package: str, pyproject: str) -> str:
    """Return `package==version` for the lower bound that pyproject.toml declares."""
    found = re.search(rf'"{re.escape(package)}>=([\d.]+)"', pyproject)
    if found is None:
        raise SystemExit(f"pyproject.toml has no lower bound for {package}")
    return f"{package}=={found[1]}"


if __name__ == "__main__":
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    print(*(floor(package, text) for package in sys.argv[1:]))
