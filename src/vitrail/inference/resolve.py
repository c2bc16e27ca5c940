"""Resolve the recipe argument of train, evaluate and predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.errors import RecipeError
from vitrail.recipes import Recipe, load_recipe, model_file_recipe, override_recipe
from vitrail.segmentors import ModelCard


def resolve_recipe(
    recipe: Recipe | str | Path | None,
    overrides: Sequence[str] = (),
    *,
    card: ModelCard | None = None,
    trust_imports: bool = False,
) -> Recipe:
    """Return the recipe that is given, or the one in the model's card, with overrides applied.

    Parameters
    ----------
    recipe : Recipe, str, Path or None
        A recipe, the name of a shipped one, a YAML file, or None for the model's own.
    overrides : sequence of str
        "key=value", as `load_recipe` takes them.
    card : ModelCard, optional
        The model's card.
    trust_imports : bool
        Import the modules under `imports` of the model's own recipe even where they are no installed plugins.

    Raises
    ------
    RecipeError
        When no recipe is given and the model carries none; or as `load_recipe` does.
    PluginError
        When the model's own recipe needs a plugin that is not installed, and `trust_imports` is False.
    """
    if isinstance(recipe, (str, Path)):
        return load_recipe(recipe, overrides)
    if recipe is not None:
        return override_recipe(recipe, overrides)
    if card is None or not card.recipe:
        raise RecipeError("the model carries no recipe: give one (recipe=…, --recipe on the command line)")
    source = f"the card of model {card.name!r}" if card.name else "the model's card"
    return model_file_recipe(card.recipe, source, overrides, trust_imports=trust_imports)
