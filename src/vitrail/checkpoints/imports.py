"""The modules outside vitrail that a model file needs: found when it is saved, imported by nobody but the user.

A model file is data. It names the modules that register its method, backbone and losses, but loading it imports none of
them, unless the user trusts the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from vitrail.errors import DatasetError, ModelError, PluginError, RecipeError
from vitrail.plugins import import_plugins, installed_plugins, missing_message, missing_plugins
from vitrail.recipes import LossConfig
from vitrail.registry import find_registry, top_level
from vitrail.segmentors import ModelCard

_OWN = ("vitrail", "__main__")  # packages that no file has to import: this one, and the running script


def required_imports(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modules that must be imported before a model can be built from its recipe.

    Parameters
    ----------
    recipe : mapping
        The recipe in the model's card, as plain data.

    Returns
    -------
    tuple of str
        Those under the recipe's key `imports`, and those that registered the names in its model section, where the
        first do not cover them: the entry point of an installed plugin, or else the registering module.
    """
    modules = list(recipe.get("imports") or ())
    for kind, name in _names(recipe["model"]):
        registry = find_registry(kind)
        if name not in registry:  # one of timm's backbones
            continue
        package = registry.origin(name)
        if package not in _OWN and package not in {top_level(module) for module in modules}:
            modules.append(_plugin_of(package) or registry.module(name))
    return tuple(dict.fromkeys(modules))


def _plugin_of(package: str) -> str | None:
    """Return the module that a package names as its plugin; None for one that is not an installed plugin."""
    return next((point.module for point in installed_plugins() if top_level(point.module) == package), None)


def _names(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "segmentor", model["segmentor"]
    if model.get("backbone") is not None:
        yield "backbone", model["backbone"]
    for term in (*(model.get("losses") or ()), *((model.get("auxiliary") or {}).get("losses") or ())):
        yield "loss", term.get("name", LossConfig().name)


@contextlib.contextmanager
def imports_of(card: ModelCard, source: str, *, trust: bool) -> Iterator[None]:
    """Context in which names from the card of a model file are looked up.

    Parameters
    ----------
    card : ModelCard
        The card in the file.
    source : str
        The file, for messages.
    trust : bool
        Import the modules that the card names first.

    Raises
    ------
    PluginError
        When a name is unknown and the file names modules that are not imported; the message says which, and how to
        allow it. Also when a trusted import fails.
    """
    if trust:
        import_plugins(card.imports, source)
    try:
        yield
    except (DatasetError, ModelError, RecipeError) as error:
        missing = missing_plugins(card.imports)
        if not missing:
            raise
        raise PluginError(f"{missing_message(source, missing)}. ({error})") from error
