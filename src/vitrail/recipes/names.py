"""The names in a recipe, and the options beside them, checked against the registries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrail.errors import RecipeError, VitrailError, nearest
from vitrail.recipes.compose import Fragment
from vitrail.recipes.data_section import DataConfig
from vitrail.recipes.schema import ModelConfig, Recipe
from vitrail.registry import check_arguments, find_registry

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class NamedEntry:
    """Where a recipe names an entry of a registry.

    Attributes
    ----------
    kind : str
        The kind of the registry, one of `vitrail.registry.KINDS`.
    section : tuple of str
        The keys that lead to the section; "*" stands for every item of a list.
    name, options : str
        The section's keys for the name and for the arguments of what it names.
    """

    kind: str
    section: tuple[str, ...]
    name: str = "name"
    options: str = "options"


NAMED_ENTRIES = (
    NamedEntry("segmentor", ("model",), name="segmentor"),
    NamedEntry("backbone", ("model",), name="backbone", options="backbone_options"),
    NamedEntry("loss", ("model", "losses", "*")),
    NamedEntry("loss", ("model", "auxiliary", "losses", "*")),
    NamedEntry("dataset", ("data",), name="dataset"),
    NamedEntry("augmentation", ("data", "augment", "extra", "*")),
    NamedEntry("optimizer", ("optimizer",)),
    NamedEntry("schedule", ("schedule",)),
    NamedEntry("logger", ("train", "loggers", "*")),
    NamedEntry("strategy", ("train", "strategy")),
)


def wrong_names(recipe: Recipe, fragments: Sequence[Fragment]) -> Iterator[tuple[Path, str]]:
    """Yield the key and the problem of every name that is not registered, and of every option it does not take.

    Only what the recipe's author wrote is checked: what ships with vitrail is checked by its tests, so that loading a
    shipped recipe does not import torch.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    fragments : sequence of Fragment
        What it was merged from.
    """
    values = recipe.model_dump()
    for named in NAMED_ENTRIES:
        if not _written_by_author(named, fragments):
            continue
        for path, section in _sections(values, named.section):
            yield from _wrong(named, path, section, values)
    yield from _wrong_auxiliary(recipe.model, fragments)
    yield from _wrong_splits(recipe.data, fragments)


def _written_by_author(named: NamedEntry, fragments: Sequence[Fragment]) -> bool:
    if "*" in named.section:
        return _author_gives(fragments, named.section[: named.section.index("*")])
    return _author_gives(fragments, (*named.section, named.name), (*named.section, named.options))


def _author_gives(fragments: Sequence[Fragment], *keys: Path) -> bool:
    return any(fragment.holds(key) for fragment in fragments if fragment.origin == "author" for key in keys)


def _wrong_auxiliary(model: ModelConfig, fragments: Sequence[Fragment]) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the auxiliary heads, where it can be said without building the backbone."""
    path = ("model", "auxiliary")
    if not _author_gives(fragments, path, ("model", "segmentor")) or model.segmentor not in find_registry("segmentor"):
        return
    method = find_registry("segmentor")[model.segmentor]
    try:
        method.changed_auxiliary(repr(model.segmentor), model.auxiliary.model_dump(exclude_none=True))
    except VitrailError as error:
        yield path, str(error)


def _wrong_splits(data: DataConfig, fragments: Sequence[Fragment]) -> Iterator[tuple[Path, str]]:
    """Yield the splits that the dataset does not have; a dataset whose splits are not described is not checked."""
    keys = ("train_split", "eval_split")
    if not _author_gives(fragments, *(("data", key) for key in ("dataset", *keys))):
        return
    registry = find_registry("dataset")
    benchmark = registry[data.dataset].benchmark if data.dataset in registry else None
    splits = benchmark.splits if benchmark is not None else {}
    for key in keys:
        split = getattr(data, key)
        if key == "train_split" and split == "train" and "val" in splits:
            continue  # where there is no "train" either, the dataset is for evaluation alone, and says so when opened
        if splits and split not in splits:
            problem = f"dataset {data.dataset!r} has no split {split!r}.{nearest(split, splits)}"
            yield ("data", key), f"{problem} It has: {', '.join(splits)}."


def _sections(values: Any, keys: Sequence[str], path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the sections that `keys` lead to, with their paths; none where a section is left out."""
    if not keys:
        if values is not None:
            yield path, values
    elif keys[0] == "*":
        for index, item in enumerate(values or ()):
            yield from _sections(item, keys[1:], (*path, index))
    elif values is not None and keys[0] in values:
        yield from _sections(values[keys[0]], keys[1:], (*path, keys[0]))


def _wrong(
    named: NamedEntry, path: Path, section: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    name = section[named.name]
    try:
        if name is None and named.kind == "backbone":  # that of the method
            name = find_registry("segmentor")[values["model"]["segmentor"]].backbone
        entry = _entry(named.kind, name)
    except VitrailError as error:
        yield (*path, named.name), str(error)
        return
    for option, value in (section.get(named.options) or {}).items():
        problem = _wrong_option(entry, f"{named.kind} {name!r}", option, value)
        if path == ("model",) and option in ModelConfig.model_fields and (problem or named.kind == "backbone"):
            problem = f"{option} stands beside {named.options}: set model.{option} instead, or leave it out"
        if problem is not None:
            yield (*path, named.options, option), problem


def _entry(kind: str, name: str) -> Any:
    """Return the registered entry, or the builder of one of timm's encoders."""
    if kind == "backbone":
        from vitrail.backbones.create import find_builder  # here, because it imports torch

        return find_builder(name)
    return find_registry(kind)[name]


def _wrong_option(entry: Any, what: str, option: str, value: Any) -> str | None:
    """Return the problem with an option of an entry: a method, a builder, or what has one as an attribute; or None."""
    try:
        if hasattr(entry, "check_options"):
            entry.check_options(what, {option: value})
        else:
            check_arguments(getattr(entry, "builder", entry), {option: value}, what, RecipeError)
    except VitrailError as error:
        return str(error)
    return None
