"""Recipes by name or file, with overrides; and back to YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitrail.errors import RecipeError
from vitrail.recipes.compose import YAML_SUFFIXES, Fragment, file_fragments, merge, recipe_fragments, shipped_recipes
from vitrail.recipes.overrides import override_fragment
from vitrail.recipes.schema import Recipe
from vitrail.recipes.validate import recipe_from_dict
from vitrail.recipes.yamlio import dump_yaml


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(shipped_recipes())


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a shipped recipe by name, or the one in a YAML file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `list_recipes()`, or the path of a file that ends in .yaml or .yml. Such a file is one fragment: any
        part of a recipe, and `base:` for the recipes, shipped fragments and files that it builds on.
    overrides : sequence of str
        "key=value" with a dotted key and a value in YAML, such as "train.batch_size=8" or
        "model.options.channels=256"; applied in order, after everything else.

    Returns
    -------
    Recipe
        Complete and checked.

    Raises
    ------
    RecipeError
        For an unknown recipe, base or key (the nearest known one is named), a value of the wrong type, a file that is
        not YAML, or bases that go round in a circle.

    Examples
    --------
    >>> recipe = load_recipe("pspnet_resnet50os8_ade20k", ["train.batch_size=8", "optimizer.lr=0.005"])
    """
    fragments, name = _fragments(name_or_path)
    return _with_overrides(fragments, overrides, name)


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with overrides applied, which are those of `load_recipe`."""
    return _with_overrides([Fragment(f"recipe {recipe.name!r}", recipe.model_dump())], overrides, recipe.name)


def _with_overrides(fragments: Sequence[Fragment], overrides: Sequence[str], name: str) -> Recipe:
    all_fragments = list(fragments)
    for override in overrides:
        all_fragments.append(override_fragment(override, merge(all_fragments)))
    return recipe_from_dict({"name": name, **merge(all_fragments)}, all_fragments)


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML, with every value it stands for; `load_recipe` on the text in a file gives it back."""
    return dump_yaml(recipe.model_dump())


def _fragments(name_or_path: str | Path) -> tuple[list[Fragment], str]:
    if isinstance(name_or_path, str) and not name_or_path.endswith(YAML_SUFFIXES):
        return recipe_fragments(name_or_path), name_or_path
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"there is no recipe file {path}")
    return file_fragments(path), path.stem
