"""What a file with the state of a run holds: read as data, with every value of the type that a run writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitrail.errors import CheckpointError
from vitrail.files.torch_file import read_pickle

STATE_FORMAT = 1
_MAX_ITERATIONS = 10**9

_Figure = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Base of the parts of a state: values of exactly the declared type; keys beyond these may be there."""

    model_config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True)


class _Origin(_Part):
    model: str
    source: str
    license: str
    started_from: str


class _Recipe(_Part):
    """The sections of a recipe that a resumed run looks into."""

    model: dict[str, Any]
    train: dict[str, Any]


class _Record(_Part):
    """A record of the history, of any event: a run of a subclass may have events of its own."""

    event: str
    iteration: int
    recipe: _Recipe | None = None


class _Start(_Record):
    recipe: _Recipe
    iterations: int
    started_from: _Origin | None = None


class _Train(_Record):
    loss: _Figure
    losses: dict[str, _Figure]
    lr: _Figure


class _Evaluation(_Record):
    miou: _Figure | None
    macc: _Figure | None
    aacc: _Figure | None
    mdice: _Figure | None
    threshold: _Figure | None = None


class _Stop(_Record):
    reason: str


_BY_EVENT: Mapping[str, type[_Record]] = {
    "start": _Start,
    "resume": _Start,
    "train": _Train,
    "evaluation": _Evaluation,
    "stop": _Stop,
}


class _State(_Part):
    """The keys of a state that a run depends on."""

    format: int
    recipe: dict[str, Any]
    images: str
    classes: list[str]
    contents: dict[str, str]
    iteration: Annotated[int, Field(ge=0, le=_MAX_ITERATIONS)]
    best: _Figure
    history: list[_Record]
    loggers: dict[str, dict[str, Any]]
    random: Annotated[list[dict[str, torch.Tensor]], Field(min_length=1)]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Any] = {}
    shards: Annotated[str, Field(pattern=r"^[0-9a-f-]+$")] | None = None  # where the tensors are, if not in the state


def read_state(path: Path) -> dict[str, Any]:
    """Read the state of a run; nothing in the file is run.

    Returns
    -------
    dict
        As `Checkpoints.save` wrote it: tensors and plain data.

    Raises
    ------
    CheckpointError
        When the file is missing or damaged, was written by a newer vitrail, or holds anything else.
    """
    state = read_pickle(path)
    if isinstance(state.get("format"), int) and state["format"] > STATE_FORMAT:
        raise CheckpointError(f"{path} was written by a newer vitrail: upgrade vitrail")
    try:
        _State.model_validate(state)
        for record in state["history"]:
            _BY_EVENT.get(record["event"], _Record).model_validate(record)
        json.dumps(state["history"], allow_nan=False)  # as the loggers write it
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path} is no training state of vitrail: {key}: {first['msg']}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no training state of vitrail: its history: {error}") from error
    planned = [record["iterations"] for record in state["history"] if "iterations" in record]
    if state["iteration"] > max(planned, default=0):
        raise CheckpointError(
            f"{path} is no training state of vitrail: iteration {state['iteration']} lies beyond the end of its run"
        )
    if not is_plain(state):
        raise CheckpointError(f"{path} is no training state of vitrail: it holds more than tensors and plain values")
    return state


def is_plain(value: Any) -> bool:
    """Return whether a value holds tensors, containers, numbers and text only."""
    if isinstance(value, Mapping):
        return all(is_plain(inner) for pair in value.items() for inner in pair)
    if isinstance(value, list | tuple):
        return all(is_plain(inner) for inner in value)
    return value is None or isinstance(value, torch.Tensor | str | int | float)


def check_alike(saved: Any, own: Any, where: str) -> None:
    """Check that what is restored has values of the kinds that it replaces.

    PyTorch's schedules, scalers and optimizers take anything from a state. Keys may be missing or new: other versions
    of PyTorch have others.

    Parameters
    ----------
    saved : dict
        The part of the state.
    own : dict
        The same of this run, before it is restored.
    where : str
        The name of the part, for messages.

    Raises
    ------
    ValueError
        For values of another kind, and lists of another length.
    """
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        for key in own.keys() & saved.keys():
            check_alike(saved[key], own[key], f"{where}.{key}")
    elif isinstance(own, list | tuple) and isinstance(saved, list | tuple):
        if len(saved) != len(own):
            raise ValueError(f"{where} has {len(saved)} entries instead of {len(own)}")
        for index, value in enumerate(own):
            check_alike(saved[index], value, f"{where}.{index}")
    elif own is not None and not isinstance(saved, _kind(own)):
        raise ValueError(f"{where} is {str(saved)[:60]}, where {str(own)[:60]} was expected")


def check_attributes(saved: Mapping[str, Any], target: Any, where: str) -> None:
    """Check that an object's state, which becomes its attributes, replaces none that the object does not save.

    Raises
    ------
    ValueError
        For a name of something else, such as a method.
    """
    own = target.state_dict()
    check_alike(saved, own, where)
    others = [name for name in saved if name not in own and hasattr(target, name)]
    if others:
        raise ValueError(f"{where} has {others[0]}, which is nothing that is saved")


def _kind(value: Any) -> type | tuple[type, ...]:
    if isinstance(value, bool):
        return bool
    return (int, float) if isinstance(value, int | float) else type(value)
