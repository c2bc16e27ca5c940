"""The direction of imports: a lower package never imports a higher one, and no files import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vitrail

PACKAGE = Path(vitrail.__file__).parent
# Lowest first. Packages of one floor may import each other, as long as no circle of files comes of it.
FLOORS = (
    ("errors", "labels", "plugins", "precision", "registry", "files"),
    ("layers", "losses", "visualize"),
    ("backbones", "datasets", "recipes", "transforms"),
    ("segmentors",),
    ("checkpoints", "optim", "runtime"),
    ("inference",),
    ("evaluation", "export", "ray"),
    ("training", "serve"),
    ("cli", "__main__"),
)
FLOOR = {package: number for number, packages in enumerate(FLOORS) for package in packages}
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of vitrail that a file imports anywhere, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name in FILES and name != "vitrail")


NAMES = [name for name in FILES if name != "vitrail"]


@cache
def graph() -> dict[str, list[str]]:
    """Return which modules each module imports."""
    return {name: sorted(set(imported(FILES[name])) - {name}) for name in NAMES}


def test_every_package_has_its_floor() -> None:
    packages = {name.split(".")[1] for name in NAMES}
    assert packages <= set(FLOOR)


@pytest.mark.parametrize("name", NAMES)
def test_no_import_runs_upwards(name: str) -> None:
    floor = FLOOR[name.split(".")[1]]
    higher = [other for other in graph()[name] if FLOOR[other.split(".")[1]] > floor]
    assert not higher, f"{name} imports {higher}"


def test_no_circle() -> None:
    # A module that imports its own package gets it half made; it has to import the neighbour that it means.
    try:
        list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
