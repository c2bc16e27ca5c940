"""Pages of the API reference: one per public package, from `__all__` and docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import vitrail

FOLDER = "api"


def packages() -> list[str]:
    """Return the public packages and modules: those that declare what is public."""
    names = [
        f"vitrail.{module.name}" for module in pkgutil.iter_modules(vitrail.__path__) if not module.name.startswith("_")
    ]
    return ["vitrail", *(name for name in names if getattr(importlib.import_module(name), "__all__", None))]


def pages() -> Mapping[str, str]:
    """Return the pages of the reference by their place in the site."""
    return {f"{FOLDER}/{name}.md": page(name) for name in packages()}


def page(name: str) -> str:
    """Return the page of one package: its names in a table, then the documentation of each."""
    package = importlib.import_module(name)
    public = sorted(set(package.__all__) - {"__version__"}, key=str.lower)
    rows = [f"| {link(name, each)} | {first_line(package, each)} |" for each in public]
    parts = [f"# {name}", inspect.getdoc(package) or "", "\n".join(["| name | |", "| --- | --- |", *rows])]
    parts += [directive(name, each) for each in public if home(name, each) == name]
    return "\n\n".join(parts)


def home(package: str, name: str) -> str | None:
    """Return the package whose page documents a public name; None for what is not defined in vitrail."""
    value = getattr(importlib.import_module(package), name)
    module = getattr(value, "__module__", None)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        owners = [each for each in packages()[1:] if name in importlib.import_module(each).__all__]
        return owners[0] if owners else package
    if not str(module).startswith("vitrail"):
        return None
    parts = str(module).split(".")
    own = ".".join(parts[:2])
    return own if own in packages() and name in importlib.import_module(own).__all__ else package


def link(package: str, name: str) -> str:
    """Return a public name as a link to its documentation."""
    where = home(package, name)
    if where is None:
        return f"`{name}`"
    value = getattr(importlib.import_module(package), name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return f"[`{name}`]({where}.md#{name.lower()})"
    return f"[`{name}`][{value.__module__}.{value.__qualname__}]"


def first_line(package: Any, name: str) -> str:
    """Return the first line of the docstring of a public name."""
    value = getattr(package, name)
    documented = value if inspect.isclass(value) or inspect.isfunction(value) else type(value)
    return (inspect.getdoc(documented) or "").partition("\n")[0].replace("|", r"\|")


def directive(package: str, name: str) -> str:
    """Return the directive that documents a public name."""
    module = importlib.import_module(package)
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return f"::: {value.__module__}.{value.__qualname__}"
    return f"## `{name}`\n\nAn instance of `{type(value).__name__}`: {first_line(module, name)}"
