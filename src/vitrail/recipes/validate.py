"""From plain data to a `Recipe`, with messages that say which value, written where, should be what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vitrail.errors import RecipeError
from vitrail.recipes.compose import Fragment
from vitrail.recipes.schema import ModelConfig, Recipe


def recipe_from_dict(data: Mapping[str, Any], fragments: Sequence[Fragment] = ()) -> Recipe:
    """Check plain data and return it as a recipe.

    Parameters
    ----------
    data : mapping
        As `Recipe.model_dump()` or a YAML file gives it; lists stand for tuples.
    fragments : sequence of Fragment, optional
        What the data was merged from, so that messages can say where a value was written.

    Returns
    -------
    Recipe
        With defaults for everything that is missing.

    Raises
    ------
    RecipeError
        Naming every key that does not exist (with the nearest one that does), is missing, or has a value of the wrong
        type.
    """
    try:
        return Recipe.model_validate(dict(data))
    except ValidationError as error:
        raise RecipeError("\n".join(_messages(error, fragments))) from error


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
        source = _written_in(path[:-1] if missing else path, fragments)
        yield (f"{source}: " if source else "") + _message(key, path, section, details)


def _message(
    key: str, path: Sequence[str | int], section: type[BaseModel] | None, details: Sequence[ErrorDetails]
) -> str:
    detail = details[0]
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key}.{_suggestion(path, section)}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    given = list(detail["input"]) if isinstance(detail["input"], tuple) else detail["input"]
    return f"{key} is {given!r}, but should be {' or '.join(map(_expected, details))}"


def _expected(detail: ErrorDetails) -> str:
    if detail["type"] == "tuple_type":
        return "a list"
    if detail["type"] == "too_short":
        return f"a list of {detail['ctx']['min_length']} or more"
    if detail["type"] in ("model_type", "dict_type"):
        return "keys with values"
    return detail["msg"].removeprefix("Input ").removeprefix("should be ")


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path))


def _in_schema(location: Sequence[str | int]) -> tuple[tuple[str | int, ...], type[BaseModel] | None]:
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


def _suggestion(path: Sequence[str | int], section: type[BaseModel] | None) -> str:
    """Say which key may have been meant: the same name in another section, or a similar one in the same section."""
    if section is None:
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


def _written_in(path: Sequence[str | int], fragments: Sequence[Fragment]) -> str:
    """Return the source of the last fragment that gives the value at `path`."""
    found = (fragment.source for fragment in reversed(fragments) if path and _holds(fragment.values, path))
    return next(found, "")


def _holds(value: Any, path: Sequence[str | int]) -> bool:
    for part in path:
        known = value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list | tuple) else ()
        if part not in known:
            return False
        value = value[part]
    return True
