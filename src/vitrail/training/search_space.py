"""The space of a hyper-parameter search: keys of a recipe, each with a range or a list of values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import RecipeError, nearest
from vitrail.files.yaml_file import read_yaml
from vitrail.recipes import Recipe, override_recipe


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers where both are written as such.

    Attributes
    ----------
    low, high : int or float
    step : int, float or None
        Distance between the numbers; None: any number (any whole number).
    log : bool
        Whether the logarithm is drawn evenly, as for learning rates.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values whose validity stands for that of all."""
        return self.low, self.high

    def suggest(self, trial: Any, key: str) -> Any:
        """Return the value of an Optuna trial."""
        if self.whole:
            return trial.suggest_int(key, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """Values of any kind, such as names or whole sections of a recipe."""

    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def suggest(self, trial: Any, key: str) -> Any:
        """Return the value of an Optuna trial, which stores it as JSON."""
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in self.values]))


Space = Mapping[str, Range | Choice]


def read_space(path: Path) -> Space:
    """Read a space from a YAML file: for each key a list of values, or a mapping with `low` and `high`.

    Raises
    ------
    RecipeError
        When the file cannot be read, or an entry is neither; the message names file and line.
    """
    document = read_yaml(path, RecipeError)
    if not isinstance(document.data, dict) or not document.data:
        raise RecipeError(f"{path}: should be a mapping from keys of the recipe to ranges or lists, such as {_EXAMPLE}")
    return {key: _parameter(value, f"{path}:{document.line([key])}: {key}") for key, value in document.data.items()}


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Return values by key as overrides of a recipe, "key=value"."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def check_space(space: Space, recipe: Recipe) -> None:
    """Check that the recipe has the keys, and takes the values: the ends of ranges, and every value of a list.

    Raises
    ------
    RecipeError
        As for an override of the same key and value.
    """
    for key, parameter in space.items():
        for value in parameter.examples:
            override_recipe(recipe, as_overrides({key: value}))


_EXAMPLE = "optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}"
_KEYS = ("low", "high", "step", "log")


def _parameter(value: Any, where: str) -> Range | Choice:
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return Choice(tuple(value))
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys():
        raise RecipeError(f"{where}: should be a list of values, or a range such as {_EXAMPLE}")
    for key in value:
        if key not in _KEYS:
            raise RecipeError(f"{where}: unknown key {key!r}.{nearest(key, _KEYS)} A range has {', '.join(_KEYS)}.")
    low, high, step, log = value["low"], value["high"], value.get("step"), value.get("log", False)
    numbers = [low, high] if step is None else [low, high, step]
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers) or not isinstance(
        log, bool
    ):
        raise RecipeError(f"{where}: low, high and step are numbers, and log is true or false")
    problem = _problem(low, high, step, log)
    if problem:
        raise RecipeError(f"{where}: {problem}")
    return Range(low, high, step, log)


def _problem(low: float, high: float, step: float | None, log: bool) -> str | None:
    if not low < high:
        return f"low ({low}) should be below high ({high})"
    if log and (low <= 0 or step is not None):
        return "log needs low above 0, and no step"
    if step is not None and step <= 0:
        return "step should be above 0"
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, float):
        return "low and high are whole numbers, so step should be one: write low: 0.0 for others"
    return None
