"""Finding the YAML file that describes a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrail.errors import DatasetError
from vitrail.files.yaml_file import read_yaml


def find_yaml(root: Path, describes: Callable[[Any], bool]) -> Path | None:
    """Return the first YAML file in a folder, by name, whose content `describes` accepts; None where there is none."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            data = read_yaml(path, DatasetError).data
        except DatasetError:
            continue
        if describes(data):
            return path
    return None
