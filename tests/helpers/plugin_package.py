"""Packages made on the spot, with or without the entry point of a plugin, and registries that forget them again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vitrail import plugins
from vitrail.registry import KINDS, find_registry


def write_package(folder: Path, name: str, code: str, *, entry_point: bool = True, version: str = "1.2") -> None:
    """Write a package of one module; with an entry point it is an installed distribution called `<name>-dist`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    if not entry_point:
        return
    info = folder / f"{name}_dist-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}.py,,\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {name}\n")


@contextmanager
def python_path(*folders: Path) -> Iterator[None]:
    """Put folders on Python's path as in a new process: what is registered or imported inside is forgotten after."""
    registries = [find_registry(kind) for kind in KINDS]
    for registry in registries:
        len(registry)  # built-in entries are registered before the plugins
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for registry in registries:
            patch.setattr(registry, "_entries", dict(registry._entries))
            patch.setattr(registry, "_modules", dict(registry._modules))
        patch.setattr(plugins._Installed, "loaded", False)
        patch.setattr(plugins._Installed, "error", None)
        for folder in folders:
            patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        plugins._distributions.cache_clear()
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", None) or "").startswith(tuple(map(str, folders))):
                    del sys.modules[name]
    plugins._distributions.cache_clear()
