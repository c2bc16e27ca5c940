"""Grids: many recipes that differ in their backbone and dataset alone, written as one table of published results.

A shipped file may hold, under `grids:`, tables such as

    - name: pspnet_{backbone}_{dataset}
      base: [schedules/sgd, "backbones/{backbone}", "datasets/{dataset}"]
      source: SSSegmentation
      miou:
        resnet50os8: {voc: 0.7793, ade20k: 0.4264}
        resnet50os16: {voc: 0.7629}

This one stands for three recipes: `pspnet_resnet50os8_voc`, whose base is [schedules/sgd, backbones/resnet50os8,
datasets/voc] and whose reference is {miou: 0.7793, source: SSSegmentation}, and two more. Keys other than `name`,
`source` and the table (`miou` or `mdice`) are parts of each recipe; `{backbone}` and `{dataset}` in their strings are
replaced by the names of the row and the column. In the recipe's name those lose their underscores, which separate its
parts. A result of null means that none was published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vitrail.errors import RecipeError

_METRICS = ("miou", "mdice")


class Part(NamedTuple):
    """A part of a shipped recipe: the values that one place in a file gives it.

    Attributes
    ----------
    place : tuple
        The keys that lead to the values in the file's document.
    values : dict
        Parts of a recipe, with `base`.
    """

    place: tuple[str | int, ...]
    values: dict[str, Any]


def shipped_parts(document: Mapping[str, Any], source: str) -> dict[str, list[Part]]:
    """Return the recipes of a shipped file by name, as the parts to be merged, the first one first.

    Parameters
    ----------
    document : mapping
        The file's data, with `grids` (a list of grids) and `recipes` (single recipes by name; the name of a recipe of a
        grid stands for settings to be merged into that one).
    source : str
        The file, for messages.

    Raises
    ------
    RecipeError
        For a grid that is not of this form, and a name that stands for two recipes.
    """
    recipes: dict[str, list[Part]] = {}
    for number, grid in enumerate(document.get("grids", ())):
        place = ("grids", number)
        for name, values in _expand(grid, f"{source}: grids.{number}"):
            if name in recipes:
                raise RecipeError(f"{source}: grids.{number} makes the recipe {name!r}, which another one makes too")
            recipes[name] = [Part(place, values)]
    for name, values in document.get("recipes", {}).items():
        values = values or {}
        if name in recipes and "base" in values:
            raise RecipeError(f"{source}: recipes.{name} has a base of its own, but a grid makes this recipe")
        recipes.setdefault(name, []).append(Part(("recipes", name), values))
    return recipes


def _expand(grid: Mapping[str, Any], source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the values of every recipe of a grid."""
    metrics = [metric for metric in _METRICS if metric in grid]
    if len(metrics) != 1 or not {"name", "source"} <= grid.keys():
        raise RecipeError(f"{source}: a grid needs name, source, and either {' or '.join(_METRICS)}")
    (metric,) = metrics
    shared = {key: value for key, value in grid.items() if key not in ("name", "source", metric)}
    for backbone, row in grid[metric].items():
        for dataset, result in row.items():
            name = _fill(grid["name"], backbone.replace("_", ""), dataset.replace("_", ""))
            reference = {"source": grid["source"]} if result is None else {metric: result, "source": grid["source"]}
            yield name, {**_fill(shared, backbone, dataset), "reference": reference}


def _fill(value: Any, backbone: str, dataset: str) -> Any:
    """Return a value with `{backbone}` and `{dataset}` replaced in its strings."""
    if isinstance(value, str):
        return value.replace("{backbone}", backbone).replace("{dataset}", dataset)
    if isinstance(value, Mapping):
        return {key: _fill(item, backbone, dataset) for key, item in value.items()}
    return [_fill(item, backbone, dataset) for item in value] if isinstance(value, list) else value
