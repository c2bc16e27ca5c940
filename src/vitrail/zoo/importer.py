"""Checkpoints of other projects: recognised by what is in them, renamed by rules a person can check, strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.zoo.build import build_model
from vitrail.zoo.state import few, load_state

Content = Mapping[str, Any]
State = dict[str, Tensor]
Rule = tuple[str, str | None]
"""A regular expression and its replacement; None drops the tensors whose name matches."""


@dataclass(frozen=True)
class Plan:
    """How one checkpoint becomes a model.

    Attributes
    ----------
    card : ModelCard
        Classes, palette, normalisation and the recipe that builds the model.
    weights : mapping
        The checkpoint's tensors under its own names.
    rules : sequence of Rule
        Applied to every name, in this order, each to the outcome of those before it. Tables of a method and of a
        backbone are concatenated.
    layouts : sequence of callable
        Functions of the whole renamed state, for what is more than a name: another order of channels, one tensor made
        of several. Each returns the state to go on with.
    """

    card: ModelCard
    weights: Mapping[str, Any]
    rules: Sequence[Rule]
    layouts: Sequence[Callable[[State], State]] = ()


@dataclass(frozen=True)
class Importer:
    """A project whose checkpoints can be read.

    Attributes
    ----------
    source : str
        The project, for messages.
    recognise : callable
        Says from the content of a file whether the project wrote it.
    plan : callable
        `(content, name of the file) -> Plan`; raises a CheckpointError for what the project wrote but vitrail lacks.
    """

    source: str
    recognise: Callable[[Content], bool]
    plan: Callable[[Content, str], Plan]


def convert(content: Content, importer: Importer, source: str) -> Segmentor:
    """Make a model from the content of another project's checkpoint.

    Parameters
    ----------
    content : mapping
        What `read_pickle` returned.
    importer : Importer
        The one that recognises it.
    source : str
        The name of the file, for messages.

    Returns
    -------
    Segmentor
        On the CPU, in evaluation mode, with `card` set.

    Raises
    ------
    CheckpointError
        Unless every tensor of the file is used once and every tensor of the model filled; the message names the first
        few that are left over.
    """
    plan = importer.plan(content, source)
    state = rename(plan.weights, plan.rules, source)
    for layout in plan.layouts:
        state = layout(state)
    model = build_model(plan.card.recipe["model"], len(plan.card.classes))
    load_state(model, state, f"{source} (from {importer.source}, renamed)")
    model.card = plan.card
    return model.eval()


def rename(weights: Mapping[str, Any], rules: Sequence[Rule], source: str) -> State:
    """Rename tensors by ordered rules.

    Raises
    ------
    CheckpointError
        When an entry is not a tensor, or two tensors would get the same name.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    strangers = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if strangers:
        raise CheckpointError(f"{source}: {len(strangers)} of its weights are not tensors ({few(strangers)})")
    state: State = {}
    origin: dict[str, str] = {}
    for old, tensor in weights.items():
        new = _renamed(old, compiled)
        if new is None:
            continue
        if new in state:
            raise CheckpointError(f"{source}: both {origin[new]} and {old} would become {new}")
        state[new], origin[new] = tensor, old
    return state


def _renamed(name: str, rules: Sequence[tuple[re.Pattern[str], str | None]]) -> str | None:
    for pattern, replacement in rules:
        if replacement is not None:
            name = pattern.sub(replacement, name)
        elif pattern.search(name):
            return None
    return name
