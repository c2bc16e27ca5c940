"""Fragments: finding them, following their `base:`, and merging them.

A fragment is any part of a recipe, plus `base:` — the name of a fragment, or a list of names, that it builds on.
Names are "datasets/ade20k" (a file shipped in `recipes/fragments/`), "pspnet_resnet50os8_ade20k" (a shipped recipe) or,
in a user's own file, the path of another YAML file, relative to the file that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from vitrail.errors import RecipeError, nearest
from vitrail.recipes.grids import Part, shipped_parts
from vitrail.recipes.yamlio import parse_yaml

PUBLISHED = Path(__file__).parent / "published"
FRAGMENTS = Path(__file__).parent / "fragments"
YAML_SUFFIXES = (".yaml", ".yml")
# Section, the key that names what is built, and the arguments it is built with.
_ARGUMENTS = (
    ("model", "segmentor", "options"),
    ("model", "backbone", "backbone_options"),
    ("data", "dataset", "options"),
)
_IDENTITY = ("name", "description", "reference")


class Shipped(NamedTuple):
    """A shipped recipe: the file it stands in, and the parts of it there, the first to be merged first."""

    path: Path
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Fragment:
    """Values of a recipe, and where they were written.

    Attributes
    ----------
    source : str
        For messages: a file, or an override.
    values : dict
        A part of a recipe as plain data, without `base`.
    """

    source: str
    values: dict[str, Any]


@lru_cache
def shipped_recipes() -> dict[str, Shipped]:
    """Return the shipped recipes by name."""
    found: dict[str, Shipped] = {}
    for path in sorted(PUBLISHED.glob("*.yaml")):
        for name, parts in shipped_parts(_read_mapping(path), str(path)).items():
            if name in found:
                raise RecipeError(f"{path}: the recipe {name!r} stands in {found[name].path} too")
            found[name] = Shipped(path, tuple(parts))
    return found


def shipped_fragments() -> list[str]:
    """Return the names of the shipped fragments that recipes share, such as "datasets/ade20k"."""
    return sorted(path.relative_to(FRAGMENTS).with_suffix("").as_posix() for path in FRAGMENTS.glob("*/*.yaml"))


def recipe_fragments(name: str, trail: tuple[str, ...] = ()) -> list[Fragment]:
    """Return the fragments that make a shipped recipe, the first to be merged first."""
    recipes = shipped_recipes()
    if name not in recipes:
        raise RecipeError(f"unknown recipe {name!r}.{nearest(name, recipes)} `vitrail recipes` lists all.")
    path, parts = recipes[name]
    common = _read_mapping(path).get("common", {})
    fragments = _expand(common, str(path), path.parent, trail, f"{path} (common)")
    for part in parts:
        fragments += _expand(part.values, f"{path} ({name})", path.parent, trail, name)
    return fragments


def file_fragments(path: Path, trail: tuple[str, ...] = ()) -> list[Fragment]:
    """Return the fragments that make a YAML file, the first to be merged first."""
    return _expand(_read_mapping(path), str(path), path.parent, trail, str(path.resolve()))


def merge(fragments: Iterable[Fragment]) -> dict[str, Any]:
    """Merge fragments: mappings key by key, everything else replaced by what comes later.

    Two things are forgotten rather than merged: a run's length in one unit, where a later fragment gives it in the
    other, and the arguments of a method, backbone or dataset, where a later fragment names another.
    """
    merged: dict[str, Any] = {}
    for fragment in fragments:
        _forget_other_length(merged.get("train"), fragment.values.get("train"))
        for section, key, arguments in _ARGUMENTS:
            _forget_arguments(merged.get(section), fragment.values.get(section), key, arguments)
        merge_into(merged, fragment.values)
    return merged


def _forget_other_length(train: Any, later: Any) -> None:
    """Drop the length of the run from `train`, and what is counted in its unit, where `later` uses the other unit."""
    if not isinstance(train, dict) or not isinstance(later, Mapping):
        return
    for unit, other in (("epochs", "iterations"), ("iterations", "epochs")):
        if later.get(unit) is not None and train.get(other) is not None:
            for key in (other, "eval_every", "save_every"):
                train.pop(key, None)


def _forget_arguments(section: Any, later: Any, key: str, arguments: str) -> None:
    """Drop `arguments` from a section where `later` gives another `key`, which they do not belong to."""
    if not isinstance(section, dict) or not isinstance(later, Mapping):
        return
    if key in section and key in later and section[key] != later[key]:
        section.pop(arguments, None)


def merge_into(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Merge `values` into `target`, which changes; `values` do not, and share nothing with it afterwards."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            merge_into(target[key], value)
        else:
            target[key] = deepcopy(value)


def _expand(values: Any, source: str, folder: Path, trail: tuple[str, ...], key: str) -> list[Fragment]:
    """Return the fragments of the bases, then the fragment itself."""
    if key in trail:
        raise RecipeError(f"{source}: base goes round in a circle: {' -> '.join((*trail, key))}")
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: should be keys and values, not {values!r}")
    own = {name: value for name, value in values.items() if name != "base"}
    fragments: list[Fragment] = []
    for base in _base_names(values.get("base"), source):
        for fragment in _base_fragments(base, source, folder, (*trail, key)):
            # A recipe is not what it is built on: neither its name nor its published result are its own.
            kept = {name: value for name, value in fragment.values.items() if name not in _IDENTITY}
            fragments.append(Fragment(fragment.source, kept))
    return [*fragments, Fragment(source, own)]


def _base_names(bases: Any, source: str) -> list[str]:
    names = [] if bases is None else bases if isinstance(bases, list) else [bases]
    if not all(isinstance(name, str) for name in names):
        raise RecipeError(f"{source}: base should be a name or a list of names, not {bases!r}")
    return names


def _base_fragments(base: str, source: str, folder: Path, trail: tuple[str, ...]) -> list[Fragment]:
    if base.endswith(YAML_SUFFIXES):
        path = folder / base
        if not path.is_file():
            raise RecipeError(f"{source}: base {base!r}: there is no file {path}")
        return file_fragments(path, trail)
    if base in shipped_recipes():
        return recipe_fragments(base, trail)
    if base in shipped_fragments():
        return file_fragments(FRAGMENTS / f"{base}.yaml", trail)
    known = [*shipped_fragments(), *shipped_recipes()]
    raise RecipeError(
        f"{source}: unknown base {base!r}.{nearest(base, known)} A base is a recipe, one of "
        f"{', '.join(shipped_fragments())}, or the path of a .yaml file."
    )


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    data = _parse(text, str(path))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: should be keys and values, not {type(data).__name__}")
    return data


@lru_cache(maxsize=64)
def _parse(text: str, source: str) -> Any:
    """Parse a document once: files are shared by many recipes, and nobody changes what they say (`merge` copies)."""
    return parse_yaml(text, source)
