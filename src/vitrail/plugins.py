"""Plugins: packages outside vitrail that register methods, backbones, datasets and other extensions.

A package joins in one of two ways. Installed packages name a module under the entry-point group `vitrail.plugins`,
which is imported at the first look-up in any registry:

    [project.entry-points."vitrail.plugins"]
    my_package = "my_package"

A recipe names modules under `imports:`, which are imported when the recipe is loaded by its author's choice. A recipe
inside a model file is foreign data and imports nothing by itself; see `missing_plugins`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from vitrail.errors import PluginError

GROUP = "vitrail.plugins"
_loaded: set[str] = set()  # the groups whose plugins were imported


def installed_plugins() -> tuple[EntryPoint, ...]:
    """Return the entry points of the installed plugins, sorted by name. Imports nothing."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: point.name))


def load_installed_plugins() -> None:
    """Import the installed plugins, once in a process; a plugin may look names up while it is being imported.

    Raises
    ------
    PluginError
        When one cannot be imported; the message says which, and how to go on without it.
    """
    if GROUP in _loaded:
        return
    _loaded.add(GROUP)
    try:
        for point in installed_plugins():
            _load(point)
    except PluginError:
        _loaded.discard(GROUP)
        raise


def _load(point: EntryPoint) -> None:
    distribution = point.dist.name if point.dist is not None else point.value
    try:
        point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {point.name!r} of the package {distribution!r} cannot be imported "
            f"({type(error).__name__}: {error}); mend it or uninstall it: pip uninstall {distribution}"
        ) from error


def missing_plugins(modules: Iterable[str]) -> list[str]:
    """Return those modules whose import would run code that nobody has installed as a plugin or imported already."""
    installed = {point.module.partition(".")[0] for point in installed_plugins()}
    return [name for name in modules if name.partition(".")[0] not in installed and name not in sys.modules]


def import_plugins(modules: Iterable[str], source: str) -> None:
    """Import modules that register extensions.

    Parameters
    ----------
    modules : iterable of str
        Dotted names of modules on Python's path.
    source : str
        Where the names were written, for messages.

    Raises
    ------
    PluginError
        For a module that does not exist or cannot be imported.
    """
    for module in modules:
        _import(module, source)


def _import(module: str, source: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise PluginError(
            f"{source}: imports: {module!r} cannot be imported ({type(error).__name__}: {error}); "
            "it has to be an installed package, or a module in a folder on PYTHONPATH"
        ) from error
