"""Base of the sections of a recipe, and the types and bounds of their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON and YAML cannot hold, or not without harm; options go into model files."""
    _check_plain(value, depth=1)
    return value


def _check_plain(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} should be a string")
            _check_plain(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    elif isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("an integer of more than 63 bits")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"a {type(value).__name__} is no number, string, boolean, list or mapping")


_DEEPEST = 16
_LARGEST = 2**63 - 1

# Bounds far beyond what is sensible, so that a slip of the keyboard is an error and not a run that fails.
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, le=10**9)]
Index = Annotated[int, Field(ge=0, le=10**9)]
Channels = Annotated[int, Field(gt=0, le=2**16)]
Pixels = Annotated[int, Field(gt=0, le=2**16)]
Size = tuple[Pixels, Pixels]
CropSide = Annotated[int, Field(ge=8, le=2**16)]  # a crop of less shows nothing to recognise
Positive = Annotated[float, Field(gt=0, le=1e4)]
Factor = Annotated[float, Field(ge=0, le=1e6)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
Deviation = Annotated[float, Field(ge=1e-3, le=1e6)]
Options = Annotated[dict[str, Any], AfterValidator(_plain)]
ClassNames = dict[str, str | None]


class Section(BaseModel):
    """Base of every section of a recipe: only known keys, and values of exactly the declared type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, data: Any) -> Any:
        """Turn the lists of this section into tuples, which YAML does not have."""
        if not isinstance(data, Mapping):
            return data
        return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


class Named(Section):
    """An extension by its name and options; the name alone stands for one without options."""

    name: str
    options: Options = {}

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data
