"""From the tensor names of other projects to ours: tables that a person can check by eye.

A table is a list of rules, each a regular expression and its replacement, applied to every name in order, each to the
outcome of those before it; None instead of a replacement drops the tensors that match. What is more than a name, such
as another order of channels, is a layout: a function of the whole renamed state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrail.checkpoints.state import few
from vitrail.errors import CheckpointError

State = dict[str, Tensor]
Rules = Sequence[tuple[str, str | None]]
Layout = Callable[[State], State]


@dataclass(frozen=True)
class Table:
    """How the tensors of one encoder or one head are renamed.

    Attributes
    ----------
    rules : sequence of (str, str or None)
        Regular expressions and their replacements.
    layouts : sequence of callable
        Applied to the renamed state, in order.
    """

    rules: Rules = ()
    layouts: tuple[Layout, ...] = ()


@dataclass(frozen=True)
class Part:
    """The tensors of a checkpoint whose names begin alike, and the table for them.

    Attributes
    ----------
    table : Table
        For the names without `prefix`.
    prefix : str
        How the names begin in the checkpoint.
    target : str
        How they begin in the model.
    """

    table: Table
    prefix: str = ""
    target: str = ""


def rename_parts(weights: Mapping[str, Any], parts: Sequence[Part], source: str) -> State:
    """Rename a checkpoint; a tensor belongs to the first part whose prefix it has.

    Raises
    ------
    CheckpointError
        When an entry is not a tensor, two tensors would get the same name, or a tensor belongs to no part.
    """
    left = dict(weights)
    state: State = {}
    for part in parts:
        own = {name: left.pop(name) for name in list(left) if name.startswith(part.prefix)}
        bare = {name.removeprefix(part.prefix): tensor for name, tensor in own.items()}
        renamed = apply_table(bare, part.table, source)
        state |= {part.target + name: tensor for name, tensor in renamed.items()}
    if left:
        raise CheckpointError(f"{source}: {len(left)} tensors belong to no part of the model ({few(list(left))})")
    return state


def apply_table(weights: Mapping[str, Any], table: Table, source: str) -> State:
    """Rename tensors by a table's rules, then bring them into our layout."""
    state = rename(weights, table.rules, source)
    for layout in table.layouts:
        state = layout(state)
    return state


def rename(weights: Mapping[str, Any], rules: Rules, source: str) -> State:
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


def conv_and_norm(name: str, *, act: bool = False) -> Rules:
    """Return rules that name the members of a sequence: 0 is `conv`, 1 is `bn`, and 2 is `act` where it has weights.

    `name` is a regular expression for where the sequence is, without groups that capture.
    """
    members = ("conv", "norm", "act") if act else ("conv", "bn")
    return tuple((rf"^({name})\.{index}\.", rf"\1.{member}.") for index, member in enumerate(members))


def change(pattern: str, function: Callable[[Tensor], Tensor]) -> Layout:
    """Return the layout that applies a function to the tensors whose name matches."""

    def layout(state: State) -> State:
        return {name: function(value) if re.search(pattern, name) else value for name, value in state.items()}

    return layout


def join(ends: Sequence[str], whole: str) -> Layout:
    """Return the layout that puts tensors one under the other: those whose names differ in how they end."""

    def layout(state: State) -> State:
        joined = dict(state)
        for name in [name for name in joined if name.endswith(ends[0])]:
            stem = name.removesuffix(ends[0])
            joined[stem + whole] = torch.cat([joined.pop(stem + end) for end in ends])
        return joined

    return layout


def split(whole: str, parts: Sequence[tuple[str, int]]) -> Layout:
    """Return the layout that takes a tensor apart: the ends of the parts' names, with their shares of its rows."""

    def layout(state: State) -> State:
        parted = dict(state)
        for name in [name for name in parted if name.endswith(whole)]:
            value = parted.pop(name)
            unit = len(value) // sum(share for _, share in parts)
            pieces = value.split([share * unit for _, share in parts])
            for (end, _), piece in zip(parts, pieces, strict=True):
                parted[name.removesuffix(whole) + end] = piece
        return parted

    return layout


def drop(pattern: str) -> Layout:
    """Return the layout that leaves out what a layout before it made and the model has no place for."""

    def layout(state: State) -> State:
        return {name: value for name, value in state.items() if not re.search(pattern, name)}

    return layout


def choose(tables: Mapping[str, Table], backbone: str) -> Table:
    """Return the table of an encoder: the first whose pattern matches the backbone's name, its timm tag left out.

    Raises
    ------
    CheckpointError
        When there is none.
    """
    name = backbone.partition(".")[0]
    for pattern, table in tables.items():
        if re.fullmatch(pattern, name):
            return table
    raise CheckpointError(f"there is no renaming table for the weights of backbone {backbone!r}")
