"""Overrides: `train.batch_size=8`, as the command line and `load_recipe` take them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from vitrail.errors import RecipeError
from vitrail.files.yaml_file import MAX_DEPTH, parse_yaml_value
from vitrail.recipes.compose import Fragment, merge, merge_into
from vitrail.recipes.schema import defaults

_INDEX = re.compile(r"[0-9]{1,4}", re.ASCII)


def with_overrides(fragments: Sequence[Fragment], overrides: Sequence[str]) -> list[Fragment]:
    """Return fragments followed by those of the overrides, each of which may change a list of the recipe before it."""
    result = list(fragments)
    for override in overrides:
        current = defaults()
        merge_into(current, merge(result))
        result.append(override_fragment(override, current))
    return result


def override_fragment(override: str, current: Mapping[str, Any]) -> Fragment:
    """Turn an override into the fragment that it stands for.

    Parameters
    ----------
    override : str
        "key=value": a dotted key ("model.options.channels"; an item of a list by its number, "model.losses.0.weight",
        where the number after the last one appends an item) and a value in YAML.
    current : mapping
        The recipe so far, with its defaults, which numbers in the key refer to.

    Raises
    ------
    RecipeError
        When there is no "=", no key, no such item, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    keys = [part.strip() for part in key.split(".")]
    source = f"override {override if len(override) <= 200 else override[:200] + '…'!r}"
    if not equals or not all(keys):
        raise RecipeError(f"{source}: should be key=value, such as train.batch_size=8")
    if len(keys) > MAX_DEPTH:
        raise RecipeError(f"{source}: a key has {MAX_DEPTH} parts at most, and this one {len(keys)}")
    value = parse_yaml_value(text, source, RecipeError)
    return Fragment(source, _nested(keys, value, current, source))


def _nested(keys: list[str], value: Any, current: Any, source: str) -> Any:
    """Return `value` below `keys`; lists on the way are those of `current`, with one item changed or appended."""
    if not keys:
        return value
    first, *rest = keys
    if isinstance(current, list | tuple):
        return _with_item(list(current), first, rest, value, source)
    if _INDEX.fullmatch(first) and not isinstance(current, Mapping):
        raise RecipeError(f"{source}: there is no list in the recipe to change item {first} of; give the whole list")
    below = current.get(first) if isinstance(current, Mapping) else None
    nested = _nested(rest, value, below, source)
    if rest and isinstance(below, str):  # a name alone stands for a section with this name
        return {first: {"name": below, **nested}}
    if rest[:1] == ["options"] and isinstance(below, Mapping) and "name" in below:  # options belong to a name
        return {first: {"name": below["name"], **nested}}
    return {first: nested}


def _with_item(items: list[Any], first: str, rest: list[str], value: Any, source: str) -> list[Any]:
    """Return the list with item number `first` changed, or appended where it is the next one."""
    if not _INDEX.fullmatch(first) or int(first) > len(items):
        numbers = f"0 to {len(items) - 1}, or {len(items)} to append one" if items else "0, to append one"
        raise RecipeError(f"{source}: {first!r} should be the number of an item, {numbers}")
    index, items = int(first), deepcopy(items)
    old = items[index] if index < len(items) else None
    old = {"name": old} if rest and isinstance(old, str) else old
    item = _nested(rest, value, old, source)
    if rest and isinstance(item, dict) and isinstance(old, dict):
        if "name" in item and item["name"] != old.get("name"):
            old.pop("options", None)  # they belong to what was named before
        merge_into(old, item)
        item = old
    items[index:index] = [item] if index == len(items) else []
    items[index] = item
    return items
