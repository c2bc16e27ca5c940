"""Which recipe a call goes by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.errors import RecipeError
from vitrail.recipes import Recipe, load_recipe, recipe_from_dict
from vitrail.recipes.compose import Fragment, merge
from vitrail.recipes.overrides import override_fragment
from vitrail.segmentors import ModelCard


def resolve_recipe(
    recipe: Recipe | str | Path | None, overrides: Sequence[str] = (), *, card: ModelCard | None = None
) -> Recipe:
    """Return the recipe that is asked for, or the one that made the model, with overrides.

    Parameters
    ----------
    recipe : Recipe, str, Path or None
        A recipe, the name of a shipped one, a YAML file, or None for the model's own.
    overrides : sequence of str
        "key=value", as `load_recipe` takes them.
    card : ModelCard, optional
        The model's card.

    Raises
    ------
    RecipeError
        When no recipe is given and the model carries none; or as `load_recipe` does.
    """
    if isinstance(recipe, (str, Path)):
        return load_recipe(recipe, overrides)
    if recipe is None:
        if card is None or not card.recipe:
            raise RecipeError(
                "the model carries no recipe: say which one to go by (recipe=…, --recipe on the command line)"
            )
        base = Fragment(f"the card of model {card.name!r}" if card.name else "the model's card", card.recipe)
    else:
        base = Fragment(f"recipe {recipe.name!r}", recipe.model_dump())
    fragments = [base]
    for override in overrides:
        fragments.append(override_fragment(override, merge(fragments)))
    return recipe_from_dict(merge(fragments), fragments)
