"""Pages of the API reference: one per public package, from `__all__` and docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import vitrail
from vitrail.registry import Registry

FOLDER = "api"


@cache
def packages() -> list[str]:
    """Return the public packages and modules: those that declare what is public."""
    top = [f"vitrail.{module.name}" for module in pkgutil.iter_modules(vitrail.__path__)]
    inner = [module.name for module in pkgutil.walk_packages(vitrail.__path__, "vitrail.") if module.ispkg]
    names = sorted({*top, *inner} - {"vitrail.__main__"})
    return ["vitrail", *(name for name in names if getattr(importlib.import_module(name), "__all__", None))]


def pages() -> Mapping[str, str]:
    """Return the pages of the reference by their place in the site."""
    return {f"{FOLDER}/{name}.md": page(name) for name in packages()}


def page(name: str) -> str:
    """Return the page of one package: its names in a table, then the documentation of each."""
    package = importlib.import_module(name)
    rows = [f"| {link(name, each)} | {first_line(getattr(package, each))} |" for each in public_names(name)]
    parts = [f"# {name}", inspect.getdoc(package) or "", "\n".join(["| name | |", "| --- | --- |", *rows])]
    parts += [directive(name, each) for each in public_names(name) if home(name, each) == name]
    return "\n\n".join(parts)


def public_names(package: str) -> list[str]:
    """Return the public names of a package in alphabetical order."""
    return sorted(set(importlib.import_module(package).__all__) - {"__version__"}, key=str.lower)


def home(package: str, name: str) -> str | None:
    """Return the package whose page documents a public name: the innermost; None for what vitrail does not define."""
    value = getattr(importlib.import_module(package), name)
    if is_code(value) and not value.__module__.startswith("vitrail"):
        return None
    owners = [each for each in packages() if any(value is other for other in public_values(each))]
    inside = [each for each in owners if f"{getattr(value, '__module__', '')}.".startswith(f"{each}.")]
    return max(inside or owners, key=lambda each: each.count("."))


@cache
def public_values(package: str) -> list[Any]:
    """Return what the public names of a package stand for."""
    return [getattr(importlib.import_module(package), name) for name in public_names(package)]


def is_code(value: Any) -> bool:
    """Return whether a value is a class or a function."""
    return inspect.isclass(value) or inspect.isfunction(value)


def link(package: str, name: str) -> str:
    """Return a public name as a link to its documentation."""
    where = home(package, name)
    value = getattr(importlib.import_module(package), name)
    if where is None:
        return f"`{name}`"
    if is_code(value):
        return f"[`{name}`][{value.__module__}.{value.__qualname__}]"
    return f"[`{name}`]({where}.md#{name.lower()})"


def first_line(value: Any) -> str:
    """Return what a public name is, in one line."""
    if is_code(value):
        return (inspect.getdoc(value) or "").partition("\n")[0].replace("|", r"\|")
    if isinstance(value, Registry):
        return f'The registry of the kind "{value.kind}".'
    return f"`{value!r}`" if isinstance(value, (int, str, tuple)) else f"`{type(value).__name__}`"


def directive(package: str, name: str) -> str:
    """Return the directive that documents a public name."""
    value = getattr(importlib.import_module(package), name)
    if is_code(value):
        return f"::: {value.__module__}.{value.__qualname__}"
    return f"## `{name}`\n\n{first_line(value)}"
