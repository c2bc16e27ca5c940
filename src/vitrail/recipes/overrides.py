"""Overrides: `train.batch_size=8`, as the command line and `load_recipe` take them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from vitrail.errors import RecipeError
from vitrail.recipes.compose import Fragment, merge_into
from vitrail.recipes.yamlio import parse_yaml


def override_fragment(override: str, merged: Mapping[str, Any]) -> Fragment:
    """Turn an override into the fragment that it stands for.

    Parameters
    ----------
    override : str
        "key=value": a dotted key ("model.options.channels"; an item of a list by its number, "model.losses.0.weight")
        and a value in YAML.
    merged : mapping
        The recipe so far, which numbers in the key refer to.

    Raises
    ------
    RecipeError
        When there is no "=", no key, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    source = f"override {override!r}"
    if not equals or not key or not all(key.split(".")):
        raise RecipeError(f"{source}: should be key=value, such as train.batch_size=8")
    value = parse_yaml(text, source)
    return Fragment(source, _nested(key.split("."), value, merged, source))


def _nested(keys: list[str], value: Any, current: Any, source: str) -> Any:
    """Return `value` below `keys`; lists on the way are those of `current`, with one item changed."""
    if not keys:
        return value
    first, *rest = keys
    if isinstance(current, list | tuple):
        if not first.isdigit() or int(first) >= len(current):
            raise RecipeError(f"{source}: {first!r} should be the number of an item, 0 to {len(current) - 1}")
        items = deepcopy(list(current))
        item = _nested(rest, value, current[int(first)], source)
        if rest and isinstance(item, dict) and isinstance(items[int(first)], dict):
            merge_into(items[int(first)], item)
        else:
            items[int(first)] = item
        return items
    if first.isdigit() and not isinstance(current, Mapping):
        raise RecipeError(f"{source}: there is no list in the recipe to change item {first} of; give the whole list")
    below = current.get(first) if isinstance(current, Mapping) else None
    return {first: _nested(rest, value, below, source)}
