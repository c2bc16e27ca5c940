"""Recipes by name or file, with overrides; and back to YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.errors import RecipeError
from vitrail.files.yaml_file import dump_yaml
from vitrail.recipes.compose import YAML_SUFFIXES, Fragment, file_fragments, merge, recipe_fragments, shipped_recipes
from vitrail.recipes.model_file import without_machine_settings
from vitrail.recipes.overrides import with_overrides
from vitrail.recipes.schema import Recipe
from vitrail.recipes.validate import recipe_from_dict


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(shipped_recipes())


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a shipped recipe by name, or the one in a YAML file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `list_recipes()` or `list_mmseg_recipes()`, or the path of a file that ends in .yaml or .yml. Such a
        file is one fragment: any part of a recipe, and `base:` for the recipes, shipped fragments and files that it
        builds on. The modules under its `imports:` are imported.
    overrides : sequence of str
        "key=value" with a dotted key and a value in YAML, such as "train.batch_size=8", "model.options.channels=256" or
        "model.losses.0.weight=0.5"; applied in order, after everything else.

    Returns
    -------
    Recipe
        Complete and checked: the methods, backbones, datasets, losses and other things that it names exist, and take
        the options that it gives them.

    Raises
    ------
    RecipeError
        For an unknown recipe, base, key or name (the nearest known one is suggested), a value of the wrong type, a file
        that is not YAML, or bases that build on each other in a circle. The message gives file and line.
    PluginError
        For a module under `imports:` that cannot be imported.

    Examples
    --------
    >>> recipe = load_recipe("pspnet_resnet50os8_ade20k", ["train.batch_size=8", "optimizer.lr=0.005"])
    """
    fragments, name = _fragments(name_or_path)
    fragments = with_overrides(fragments, overrides)
    return recipe_from_dict({"name": name, **merge(fragments)}, fragments, trust_imports=True)


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with overrides applied, which are those of `load_recipe`.

    Raises
    ------
    RecipeError
        As `load_recipe`.
    """
    fragments = with_overrides([Fragment(f"recipe {recipe.name!r}", recipe.model_dump())], overrides)
    return recipe_from_dict(merge(fragments), fragments, trust_imports=True)


def model_file_recipe(
    data: Mapping[str, Any], source: str, overrides: Sequence[str] = (), *, trust_imports: bool = False
) -> Recipe:
    """Return the recipe that a model file carries, with overrides applied.

    What concerns the machine, such as `data.root` and `data.workers`, is not taken from the file.

    Parameters
    ----------
    data : mapping
        The recipe as plain data. Its names are not checked here but where they are used: a model that predicts may
        name a dataset that is not here.
    source : str
        Where it comes from, for messages.
    overrides : sequence of str
        As in `load_recipe`.
    trust_imports : bool
        Import the modules under `imports` even where they are no installed plugins.

    Raises
    ------
    RecipeError
        As `load_recipe`.
    PluginError
        For a module under `imports` that is no installed plugin, while `trust_imports` is False.
    """
    fragments = with_overrides(
        [Fragment(source, without_machine_settings(data, source), origin="model file")], overrides
    )
    return recipe_from_dict(merge(fragments), fragments, trust_imports=trust_imports)


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML, defaults included; `load_recipe` on a file with this text returns an equal recipe."""
    return dump_yaml(recipe.model_dump())


def _fragments(name_or_path: str | Path) -> tuple[list[Fragment], str]:
    if isinstance(name_or_path, str) and not name_or_path.endswith(YAML_SUFFIXES):
        return recipe_fragments(name_or_path), name_or_path
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"there is no recipe file {path}")
    return file_fragments(path), path.stem
