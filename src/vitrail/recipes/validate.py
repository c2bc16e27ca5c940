"""From plain data to a `Recipe`, with messages that name the key and where its value was written."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vitrail.errors import PluginError, RecipeError
from vitrail.plugins import import_plugins, missing_message, missing_plugins
from vitrail.recipes.compose import Fragment
from vitrail.recipes.names import wrong_names
from vitrail.recipes.schema import ModelConfig, Recipe

Path = Sequence[str | int]

_repr = reprlib.Repr()
_repr.maxlevel = 4
_repr.maxstring = _repr.maxother = 200
_repr.maxlong = 60


def recipe_from_dict(
    data: Mapping[str, Any], fragments: Sequence[Fragment] = (), *, trust_imports: bool = False
) -> Recipe:
    """Check plain data and return it as a recipe.

    Parameters
    ----------
    data : mapping
        As `Recipe.model_dump()` or a YAML file gives it; lists stand for tuples.
    fragments : sequence of Fragment, optional
        What the data was merged from: where values were written, for messages, and which of them need a check.
        None of them means that all of the data was written by the caller.
    trust_imports : bool
        Import the modules under `imports`, even where they come from a model file. Otherwise those have to be
        installed plugins.

    Returns
    -------
    Recipe
        With defaults for everything that is missing.

    Raises
    ------
    RecipeError
        Naming every key that does not exist (with the nearest one that does), is missing, has a value of the wrong
        type, or names something that is not registered or does not take the options beside it.
    PluginError
        For a module under `imports` that cannot be imported, or may not.
    """
    parts = fragments or (Fragment("recipe", dict(data)),)
    try:
        recipe = Recipe.model_validate(dict(data))
    except ValidationError as error:
        raise RecipeError("\n".join(_messages(error, fragments))) from error
    _import(recipe, parts if fragments else (), trust_imports)
    wrong = [f"{_where(path, fragments)}{_dotted(path)}: {problem}" for path, problem in wrong_names(recipe, parts)]
    if wrong:
        raise RecipeError("\n".join(wrong))
    return recipe


def _import(recipe: Recipe, fragments: Sequence[Fragment], trust: bool) -> None:
    """Import the plugins of a recipe: those that its author names, and others as far as they are trusted."""
    own = [module for part in fragments if part.origin != "model file" for module in part.values.get("imports", ())]
    source = _where(("imports",), fragments).removesuffix(": ") or f"recipe {recipe.name!r}"
    missing = [] if trust else missing_plugins(module for module in recipe.imports if module not in own)
    if missing:
        raise PluginError(missing_message(source, missing))
    import_plugins(recipe.imports, source)


def model_config_from_dict(data: Mapping[str, Any]) -> ModelConfig:
    """Check the model section of a recipe, given as plain data, and return it.

    Raises
    ------
    RecipeError
        As `recipe_from_dict`.
    """
    try:
        return ModelConfig.model_validate(dict(data))
    except ValidationError as error:
        raise RecipeError("\n".join(_messages(error, (), ("model",)))) from error


def _messages(error: ValidationError, fragments: Sequence[Fragment], inside: tuple[str, ...] = ()) -> Iterator[str]:
    """Return one message for each key that is wrong; the members of a union are reported together.

    `inside` is the path of the section that was checked, where it is not the whole recipe.
    """
    by_key: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(_dotted(_in_schema((*inside, *detail["loc"]))[0]), []).append(detail)
    for key, details in by_key.items():
        path, section = _in_schema((*inside, *details[0]["loc"]))
        missing = details[0]["type"] == "missing"
        where = _where(path[:-1] if missing else path, fragments)
        yield f"{where}{key + ': ' if key else ''}{_message(path, section, details)}"


def _message(path: Path, section: type[BaseModel] | None, details: Sequence[ErrorDetails]) -> str:
    detail = details[0]
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return f"unknown key.{_suggestion(path, section)}"
    if detail["type"] == "missing":
        return "is missing"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    given = list(detail["input"]) if isinstance(detail["input"], tuple) else detail["input"]
    return f"should be {' or '.join(map(_expected, details))}, not {_repr.repr(given)}"


def _expected(detail: ErrorDetails) -> str:
    if detail["type"] == "tuple_type":
        return "a list"
    if detail["type"] == "too_short":
        return f"a list of {detail['ctx']['min_length']} or more"
    if detail["type"] == "too_long":
        return f"a list of {detail['ctx']['max_length']} at most"
    if detail["type"] in ("model_type", "dict_type"):
        return "keys with values"
    return detail["msg"].removeprefix("Input ").removeprefix("should be ")


def _dotted(path: Path) -> str:
    return ".".join(part if isinstance(part, str) and part.isprintable() else repr(part) for part in path)


def _in_schema(location: Path) -> tuple[tuple[str | int, ...], type[BaseModel] | None]:
    """Return the part of an error's location that is a key of the recipe, and the section that it lies in.

    What pydantic adds behind it names the member of a union.
    """
    section: type[BaseModel] | None = Recipe
    path: list[str | int] = []
    annotation: Any = Recipe
    for part in location:
        if isinstance(part, int):
            path.append(part)
            continue
        section = _section(annotation)
        if section is None:
            break
        path.append(part)
        if part not in section.model_fields:
            break
        annotation = section.model_fields[part].annotation
    return tuple(path), section


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field's type is, or holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for member in get_args(annotation) if (found := _section(member)) is not None), None)


def _suggestion(path: Path, section: type[BaseModel] | None) -> str:
    """Suggest a key: the same name in another section, or a similar one in the same section."""
    if section is None or not path:
        return ""
    elsewhere = [key for key in _keys(Recipe) if key.rpartition(".")[2] == path[-1]]
    if elsewhere:
        return f" Did you mean {' or '.join(map(repr, elsewhere))}?"
    near = get_close_matches(str(path[-1]), section.model_fields, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {_dotted([*path[:-1], *near])!r}?"
    return f" Known here: {', '.join(section.model_fields)}."


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, info in section.model_fields.items():
        keys.append(prefix + name)
        below = _section(info.annotation)
        if below is not None:
            keys += _keys(below, f"{prefix}{name}.")
    return keys


def _where(path: Path, fragments: Sequence[Fragment]) -> str:
    """Return "file:line: " of the last fragment that gives the value at `path`, or as much of the path as any gives."""
    for length in range(len(path), 0, -1):
        for fragment in reversed(fragments):
            if fragment.holds(path[:length]):
                return f"{fragment.where(path)}: "
    return f"{fragments[-1].source}: " if len(fragments) == 1 else ""
