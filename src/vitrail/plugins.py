"""Plugins: packages outside vitrail that register methods, backbones, datasets and other extensions.

A package joins in one of two ways. Installed packages name a module under the entry-point group `vitrail.plugins`,
which is imported at the first look-up in any registry:

    [project.entry-points."vitrail.plugins"]
    my_package = "my_package"

A recipe names modules under `imports:`, which are imported when its author loads it. A model file also names modules
that it needs, but loading it imports none of them: they have to be installed plugins or imported already, unless the
user trusts the file (`trust_imports=True`, `--trust-imports`).

The environment variable `VITRAIL_PLUGINS=0` switches installed plugins off.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version

from vitrail.errors import PluginError
from vitrail.files.environment import env_switch

GROUP = "vitrail.plugins"
SWITCH = "VITRAIL_PLUGINS"


class _Installed:
    """State of the installed plugins in this process."""

    loaded = False
    error: PluginError | None = None


def plugins_enabled() -> bool:
    """Return whether installed plugins are imported: unless the environment variable `VITRAIL_PLUGINS` is 0.

    Raises
    ------
    VitrailError
        For a value that is neither on nor off.
    """
    return env_switch(SWITCH, default=True)


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
    if _Installed.error is not None:
        raise _Installed.error
    if _Installed.loaded or not plugins_enabled():
        return
    _Installed.loaded = True
    try:
        for point in installed_plugins():
            _load(point)
    except PluginError as error:
        _Installed.error = error  # a second attempt would find half of the plugin's names taken
        raise


def _load(point: EntryPoint) -> None:
    distribution = point.dist.name if point.dist is not None else point.module
    try:
        point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {point.name!r} of the package {distribution!r} cannot be imported "
            f"({type(error).__name__}: {error}). Repair it, or uninstall it (pip uninstall {distribution}), or go on "
            f"without plugins by setting the environment variable {SWITCH}=0"
        ) from error


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


def missing_plugins(modules: Iterable[str]) -> list[str]:
    """Return the modules that are neither installed plugins nor imported already; imports the installed plugins only.

    Parameters
    ----------
    modules : iterable of str
        Dotted names of modules, from a file that is not trusted.
    """
    named = list(modules)
    if named:
        load_installed_plugins()
    return [module for module in named if module not in sys.modules]


def missing_message(source: str, modules: Sequence[str]) -> str:
    """Return the message for a file that needs modules which it must not import by itself.

    Parameters
    ----------
    source : str
        The file.
    modules : sequence of str
        Those that are missing.
    """
    several = len(modules) > 1
    message = (
        f"{source} needs the {'modules' if several else 'module'} {' and '.join(map(repr, modules))}, "
        f"{'none of which' if several else 'which'} is {'' if several else 'not '}an installed plugin of vitrail. "
        "Install the package that provides it; or, if you trust the file, let it import what it names: --trust-imports "
        "on the command line, trust_imports=True in Python"
    )
    return message if plugins_enabled() else f"{message}. Installed plugins are switched off by {SWITCH}=0"


def distribution_of(package: str) -> str:
    """Return the installed distribution of a top-level package with its version, such as "vitrail 0.1.0".

    Parameters
    ----------
    package : str
        The name that is imported.

    Returns
    -------
    str
        The name of the package alone when it is not installed, such as that of a module in a folder on PYTHONPATH.
    """
    name = next(iter(_distributions().get(package, ())), package)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()
