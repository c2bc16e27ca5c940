"""Fragments: finding them, following their `base:`, and merging them.

A fragment is any part of a recipe, plus `base:` — the name of a fragment, or a list of names, that it builds on.
Names are "datasets/ade20k" (a file shipped in `recipes/fragments/`), "pspnet_resnet50os8_ade20k" (a shipped recipe) or,
in a user's own file, the path of another YAML file, relative to the file that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vitrail.errors import RecipeError, nearest
from vitrail.files.yaml_file import YamlDocument, read_yaml
from vitrail.recipes.grids import Part, shipped_parts
from vitrail.recipes.mmseg import PREFIX, mmseg_recipe

PUBLISHED = Path(__file__).parent / "published"
FRAGMENTS = Path(__file__).parent / "fragments"
YAML_SUFFIXES = (".yaml", ".yml")
# Section, the key that names what is built, and the arguments it is built with.
_ARGUMENTS = (
    ("model", "segmentor", "options"),
    ("model", "segmentor", "auxiliary"),
    ("model", "backbone", "backbone_options"),
    ("data", "dataset", "options"),
    ("optimizer", "name", "options"),
    ("schedule", "name", "options"),
)
_IDENTITY = ("name", "description", "reference")
_MAX_BASES = 64  # on the way from a file to its farthest base
_MAX_FRAGMENTS = 1000  # of one recipe; a base that is named twice counts twice


class Shipped(NamedTuple):
    """A shipped recipe: the file that holds it, and its parts there, the first to be merged first."""

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
        A part of a recipe as plain data.
    document : YamlDocument or None
        The document that holds the values, for line numbers.
    place : tuple
        The keys that lead to the values in the document.
    origin : {"author", "vitrail", "model file"}
        Who wrote them: whoever asks for the recipe, whose names and options are checked when it is loaded; vitrail
        itself, whose tests check them; or a model file, whose names are checked where they are used (a file for
        prediction may name a dataset that is not here), and whose `imports` are not to be trusted.
    """

    source: str
    values: dict[str, Any]
    document: YamlDocument | None = None
    place: tuple[str | int, ...] = ()
    origin: Literal["author", "vitrail", "model file"] = "author"

    def where(self, path: Sequence[str | int]) -> str:
        """Return where the value at a path was written: "file:line", or the source if it has no lines."""
        return self.source if self.document is None else f"{self.source}:{self.document.line((*self.place, *path))}"

    def holds(self, path: Sequence[str | int]) -> bool:
        """Return whether the fragment has a value at a path; a name alone stands for a section with this `name`."""
        value: Any = self.values
        for part in path:
            if isinstance(value, str) and part == "name":
                return True
            parts = dict(enumerate(value)) if isinstance(value, list | tuple) else value
            if not isinstance(parts, Mapping) or part not in parts:
                return False
            value = parts[part]
        return True


@lru_cache
def shipped_recipes() -> dict[str, Shipped]:
    """Return the shipped recipes by name."""
    found: dict[str, Shipped] = {}
    for path in sorted(PUBLISHED.glob("*.yaml")):
        for name, parts in shipped_parts(_read(path).data, str(path)).items():
            if name in found:
                raise RecipeError(f"{path}: the recipe {name!r} stands in {found[name].path} too")
            found[name] = Shipped(path, tuple(parts))
    return found


@lru_cache
def shipped_fragments() -> list[str]:
    """Return the names of the shipped fragments that recipes share, such as "datasets/ade20k"."""
    return sorted(path.relative_to(FRAGMENTS).with_suffix("").as_posix() for path in FRAGMENTS.glob("*/*.yaml"))


def recipe_fragments(name: str, trail: tuple[str, ...] = ()) -> list[Fragment]:
    """Return the fragments that make a shipped recipe, or that of a config of MMSegmentation, the first one first."""
    if name.startswith(PREFIX):
        return [Fragment(name, mmseg_recipe(name), origin="vitrail")]
    recipes = shipped_recipes()
    if name not in recipes:
        raise RecipeError(f"unknown recipe {name!r}.{nearest(name, recipes)} `vitrail recipes` lists all.")
    path, parts = recipes[name]
    document = _read(path)
    common = Fragment(str(path), document.data.get("common", {}), document, ("common",), "vitrail")
    fragments = _expand(common, path.parent, trail, f"{path} (common)")
    for part in parts:
        fragments += _expand(replace(common, values=part.values, place=part.place), path.parent, trail, name)
    return fragments


def file_fragments(path: Path, trail: tuple[str, ...] = ()) -> list[Fragment]:
    """Return the fragments that make a YAML file, the first to be merged first."""
    document = _read(path)
    if not isinstance(document.data, dict):
        raise RecipeError(f"{path}: should be keys with values, not {_kind(document.data)}")
    fragment = Fragment(str(path), document.data, document, (), "vitrail" if _is_shipped(path) else "author")
    return _expand(fragment, path.parent, trail, str(path.resolve()))


def merge(fragments: Iterable[Fragment]) -> dict[str, Any]:
    """Merge fragments: mappings key by key, everything else replaced by what comes later.

    Two things are dropped rather than merged: a run's length in one unit, where a later fragment gives it in the
    other, and the arguments of a method (its auxiliary heads too, but not their losses), backbone, dataset, optimizer
    or schedule, where a later fragment names another. `imports` are joined rather than replaced: a base needs its own,
    whatever builds on it.
    """
    merged: dict[str, Any] = {}
    imports: dict[str, None] = {}
    for fragment in fragments:
        _drop_other_length(merged.get("train"), fragment.values.get("train"))
        for section, key, arguments in _ARGUMENTS:
            _drop_arguments(merged.get(section), fragment.values.get(section), key, arguments)
        merge_into(merged, fragment.values)
        named = fragment.values.get("imports")
        if isinstance(named, list | tuple) and all(isinstance(module, str) for module in named):
            imports.update(dict.fromkeys(named))
            merged["imports"] = list(imports)
    return merged


def _drop_other_length(train: Any, later: Any) -> None:
    """Drop the length of the run from `train`, and what is counted in its unit, where `later` uses the other unit."""
    if not isinstance(train, dict) or not isinstance(later, Mapping):
        return
    for unit, other in (("epochs", "iterations"), ("iterations", "epochs")):
        if later.get(unit) is not None and train.get(other) is not None:
            for key in (other, "eval_every", "save_every"):
                train.pop(key, None)


def _drop_arguments(section: Any, later: Any, key: str, arguments: str) -> None:
    """Drop `arguments` from a section where `later` gives another `key`, which they do not belong to."""
    if not isinstance(section, dict) or not isinstance(later, Mapping):
        return
    if key in section and key in later and section[key] != later[key]:
        dropped = section.pop(arguments, None)
        if arguments == "auxiliary" and isinstance(dropped, Mapping) and "losses" in dropped:
            section[arguments] = {"losses": dropped["losses"]}  # of the task, not of the method


def merge_into(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Merge `values` into `target`, which changes; `values` do not, and share nothing with it afterwards."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            merge_into(target[key], value)
        else:
            target[key] = deepcopy(value)


def _expand(fragment: Fragment, folder: Path, trail: tuple[str, ...], key: str) -> list[Fragment]:
    """Return the fragments of the bases, then the fragment itself; without `base`, which they were found by."""
    if key in trail:
        raise RecipeError(f"{fragment.where(('base',))}: base is circular: {' -> '.join((*trail, key))}")
    if len(trail) == _MAX_BASES:
        raise RecipeError(f"{fragment.where(('base',))}: base: more than {_MAX_BASES} files build on each other")
    fragments: list[Fragment] = []
    for base in _base_names(fragment):
        for inherited in _base_fragments(base, fragment, folder, (*trail, key)):
            # A recipe is not what it is built on: neither its name nor its published result are its own.
            kept = {name: value for name, value in inherited.values.items() if name not in _IDENTITY}
            fragments.append(replace(inherited, values=kept))
        if len(fragments) > _MAX_FRAGMENTS:
            raise RecipeError(f"{fragment.where(('base',))}: base: stands for more than {_MAX_FRAGMENTS:,} files")
    own = {name: value for name, value in fragment.values.items() if name != "base"}
    return [*fragments, replace(fragment, values=own)]


def _base_names(fragment: Fragment) -> list[str]:
    bases = fragment.values.get("base")
    names = [] if bases is None else bases if isinstance(bases, list) else [bases]
    if not all(isinstance(name, str) for name in names):
        where = fragment.where(("base",))
        raise RecipeError(f"{where}: base: should be a name or a list of names, not {_kind(bases)}")
    return names


def _base_fragments(base: str, fragment: Fragment, folder: Path, trail: tuple[str, ...]) -> list[Fragment]:
    if base.endswith(YAML_SUFFIXES):
        path = folder / base
        if not path.is_file():
            raise RecipeError(f"{fragment.where(('base',))}: base: there is no file {path}")
        return file_fragments(path, trail)
    if base in shipped_recipes() or base.startswith(PREFIX):
        return recipe_fragments(base, trail)
    if base in shipped_fragments():
        return file_fragments(FRAGMENTS / f"{base}.yaml", trail)
    known = [*shipped_fragments(), *shipped_recipes()]
    raise RecipeError(
        f"{fragment.where(('base',))}: base: unknown base {base!r}.{nearest(base, known)} A base is a recipe, one of "
        f"{', '.join(shipped_fragments())}, or the path of a .yaml file."
    )


def _kind(value: Any) -> str:
    names = {dict: "keys with values", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _read(path: Path) -> YamlDocument:
    """Read a file; one that ships with vitrail, which many recipes share, once in a process."""
    return _read_shipped(path) if _is_shipped(path) else read_yaml(path, RecipeError)


def _is_shipped(path: Path) -> bool:
    return path.is_relative_to(Path(__file__).parent)


@cache
def _read_shipped(path: Path) -> YamlDocument:
    return read_yaml(path, RecipeError)
