"""What the recipe in a model file may decide: how its model predicts, but nothing about the machine that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from vitrail.errors import RecipeError

# Left at their defaults: whoever reads the file says where data are and how many processes load them.
_OF_THE_MACHINE = (
    ("data", ("root", "workers", "cache")),
    ("model", ("pretrained",)),
    ("train", ("start_from", "teacher", "loggers", "strategy")),
)
_PATHS_OF_METHODS = ("vocabulary", "clip")  # among model.options: the `Head.file_options` of all methods
_LARGEST_OPTION = 1 << 16  # of a number among the dataset's options, such as a number of images
_LARGEST = {"batch_size": 1024, "scales": 8.0, "window": 1 << 13, "stride": 1 << 13}
_SMALLEST_STRIDE = 16  # pixels
_MOST_OVERLAPS = 16  # windows over each other in one direction
_LARGEST_SIDE = 1 << 13  # pixels, of data.eval_resize


def drop_machine_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe, as plain data, whose paths, addresses, loggers and numbers of processes take their defaults."""
    kept = dict(recipe)
    for section, keys in _OF_THE_MACHINE:
        values = kept.get(section)
        if isinstance(values, Mapping):
            kept[section] = {key: value for key, value in values.items() if key not in keys}
    model = kept.get("model")
    if isinstance(model, Mapping) and isinstance(model.get("options"), Mapping):
        options = {key: value for key, value in model["options"].items() if key not in _PATHS_OF_METHODS}
        kept["model"] = {**model, "options": options}
    return kept


def without_machine_settings(recipe: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a model file's recipe without what is not for a file to decide; see `drop_machine_settings`.

    Parameters
    ----------
    recipe : mapping
        The recipe in the file, as plain data.
    source : str
        The file, for messages.

    Raises
    ------
    RecipeError
        For options of the dataset that lead out of its folder, and for sizes, scales, numbers of windows and numbers of
        images beyond what prediction and evaluation take.
    """
    kept = drop_machine_settings(recipe)
    data, evaluation = kept.get("data"), kept.get("evaluation")
    if isinstance(data, Mapping):
        _check_options(data.get("options"), source)
        resize = data.get("eval_resize")
        if isinstance(resize, Mapping):
            for key in ("size", "multiple_of"):
                _check_numbers(resize.get(key), _LARGEST_SIDE, f"{source}: data.eval_resize.{key}")
    if isinstance(evaluation, Mapping):
        for key, largest in _LARGEST.items():
            _check_numbers(evaluation.get(key), largest, f"{source}: evaluation.{key}")
        _check_windows(evaluation.get("window"), evaluation.get("stride"), source)
    return kept


def _check_options(options: Any, source: str) -> None:
    for value in _values(options):
        if isinstance(value, str) and _leads_elsewhere(value):
            raise RecipeError(
                f"{source}: data.options names {value!r}, which leads out of the dataset's folder: a model file cannot "
                "say which files are read; give the recipe itself (recipe=…, --recipe) if you trust it"
            )
    _check_numbers(options, _LARGEST_OPTION, f"{source}: data.options")


def _check_windows(window: Any, stride: Any, source: str) -> None:
    """Refuse windows that overlap so much that a photo takes hours."""
    least = [max(_SMALLEST_STRIDE, side / _MOST_OVERLAPS) for side in _values(window) if isinstance(side, int | float)]
    for step, smallest in zip(_values(stride), least, strict=False):
        if isinstance(step, int | float) and step < smallest:
            raise RecipeError(
                f"{source}: evaluation.stride is {step:,}, less than the {smallest:g} that a model file may ask for: "
                "give the recipe itself (recipe=…, --recipe) if it is meant"
            )


def _leads_elsewhere(name: str) -> bool:
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return "://" in name or name.startswith("~") or any(p.anchor != "" or ".." in p.parts for p in paths)


def _check_numbers(value: Any, largest: float, where: str) -> None:
    for each in _values(value):
        if isinstance(each, int | float) and not abs(each) <= largest:
            raise RecipeError(
                f"{where} is {each:,}, more than the {largest:,} that a model file may ask for: give the recipe itself "
                "(recipe=…, --recipe) if it is meant"
            )


def _values(value: Any) -> Iterator[Any]:
    """Yield the single values in plain data."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item)
    else:
        yield value
