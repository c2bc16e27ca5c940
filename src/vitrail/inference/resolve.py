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
) -> Recipe:
    """Return the recipe that is given, or the one in the model's card, with overrides applied.

    Parameters
    ----------
    recipe : Recipe, str, Path or None
        A recipe, the name of a shipped one, a YAML file, or None for the model's own.
    overrides : sequence of str
        "key=value", as `load_recipe` takes them.
    card : ModelCard, optional
        The model's card. The modules under `imports` of its recipe are not imported here: `vitrail.load` has done so
        if the file is trusted, and what is missing is reported where its name is used.

    Raises
    ------
    RecipeError
        When no recipe is given and the model carries none; or as `load_recipe` does.
    """
    if isinstance(recipe, (str, Path)):
        return load_recipe(recipe, overrides)
    if recipe is not None:
        return override_recipe(recipe, overrides)
    if card is None or not card.recipe:
        raise RecipeError("the model carries no recipe: give one (recipe=…, --recipe on the command line)")
    source = f"the card of model {card.name!r}" if card.name else "the model's card"
    return model_file_recipe({**card.recipe, "imports": ()}, source, overrides)
