"""Recipes of MMSegmentation's configs, by the names that they have there.

`tools/build_mmseg_recipes.py` makes the file from the configs: for each of them a recipe, or what vitrail lacks for it.
What a recipe leaves out of its config is said in its description.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from vitrail.errors import RecipeError, nearest

FILE = Path(__file__).parent / "mmseg.json"
PREFIX = "mmseg/"
# Parts of a recipe that several share: the file holds each of them once, and its number in the recipes.
SECTIONS = ("model", "data", "optimizer", "schedule", "train", "evaluation")


def list_mmseg_recipes() -> list[str]:
    """Return the names of the configs that have a recipe, each with "mmseg/" in front."""
    return sorted(PREFIX + name for name, recipe in _file()["recipes"].items() if isinstance(recipe, dict))


def mmseg_recipe(name: str) -> dict[str, Any]:
    """Return the recipe of a config as plain data; `name` begins with "mmseg/".

    Raises
    ------
    RecipeError
        For a config that MMSegmentation does not have, and for one that has no recipe; the message says why.
    """
    file = _file()
    found = file["recipes"].get(name.removeprefix(PREFIX))
    if found is None:
        raise RecipeError(
            f"MMSegmentation has no config {name.removeprefix(PREFIX)!r}.{nearest(name, list_mmseg_recipes())} "
            f"`vitrail recipes {PREFIX}` lists those that have a recipe."
        )
    if isinstance(found, str):
        raise RecipeError(f"vitrail has no recipe for MMSegmentation's {name.removeprefix(PREFIX)}: {found}")
    return {key: file[key][value] if key in SECTIONS else value for key, value in found.items()}


@cache
def _file() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data
