"""Renaming tensors between another project's modules and ours, in both directions, from one table.

A table maps their module paths to ours. The longest path that a tensor's name begins with decides, in one pass, so the
order of the entries does not matter; what follows the path stays as it is. The inverse reads the same table from right
to left. What is more than a name, such as another order of channels, is a `Layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from vitrail.checkpoints.state import few
from vitrail.errors import CheckpointError

State = dict[str, Tensor]
# Their paths by ours. A path is modules joined by dots; "" is the module itself, and "*" stands for any number, the
# same one on both sides. A pair of a path and a table renames what lies below, too.
Names = Mapping[str, str | tuple[str, "Names"]]
Path = tuple[str, ...]

ANY_NUMBER = "*"


class Layout(Protocol):
    """A difference of the tensors that is more than their names, applied to tensors under our names."""

    def to_ours(self, state: State) -> State:
        """Return the tensors as our model holds them."""
        ...

    def to_theirs(self, state: State) -> State:
        """Return the tensors as their model holds them; the inverse of `to_ours`."""
        ...


@dataclass(frozen=True)
class Renaming:
    """How the tensors of a module are renamed.

    Attributes
    ----------
    names : mapping
        See `Names`.
    layouts : sequence of Layout
        Applied in order after the names on the way to ours, in reverse before them on the way back.
    before : sequence of Layout
        The same, but applied to tensors under their names.
    """

    names: Names = field(default_factory=dict)
    layouts: tuple[Layout, ...] = ()
    before: tuple[Layout, ...] = ()

    def to_ours(self, weights: Mapping[str, Any], where: str) -> State:
        """Return tensors under our names.

        Parameters
        ----------
        weights : mapping from str to Tensor
            Under their names.
        where : str
            Where they come from, for messages.

        Raises
        ------
        CheckpointError
            When an entry is not a tensor, or two tensors would get the same name.
        """
        state = _tensors(weights, where)
        for layout in self.before:
            state = layout.to_ours(state)
        state = self._forward.rename(state, where)
        for layout in self.layouts:
            state = layout.to_ours(state)
        return state

    def to_theirs(self, state: Mapping[str, Tensor], where: str) -> State:
        """Return tensors under their names; the inverse of `to_ours`."""
        weights = _tensors(state, where)
        for layout in reversed(self.layouts):
            weights = layout.to_theirs(weights)
        weights = self._backward.rename(weights, where)
        for layout in reversed(self.before):
            weights = layout.to_theirs(weights)
        return weights

    @cached_property
    def _pairs(self) -> tuple[tuple[Path, Path], ...]:
        return tuple(_flat(self.names))

    @cached_property
    def _forward(self) -> _Tree:
        return _Tree(self._pairs)

    @cached_property
    def _backward(self) -> _Tree:
        return _Tree([(ours, theirs) for theirs, ours in self._pairs])


def under(theirs: str, ours: str, renaming: Renaming) -> Renaming:
    """Return the renaming of a module that is `theirs` in their model and `ours` in ours."""
    return Renaming(
        {theirs: (ours, renaming.names)},
        tuple(_Inside(ours, layout) for layout in renaming.layouts),
        tuple(_Inside(theirs, layout) for layout in renaming.before),
    )


def combine(*parts: Renaming) -> Renaming:
    """Return the renaming of a model from those of its parts.

    Raises
    ------
    ValueError
        When two parts name the same module.
    """
    names: dict[str, Any] = {}
    for part in parts:
        for theirs, ours in part.names.items():
            if theirs in names:
                raise ValueError(f"two parts of a model rename {theirs!r}")
            names[theirs] = ours
    return Renaming(
        names,
        tuple(layout for part in parts for layout in part.layouts),
        tuple(layout for part in parts for layout in part.before),
    )


@dataclass(frozen=True)
class _Inside:
    """A layout of a module, applied in the model that holds it."""

    module: str
    layout: Layout

    def to_ours(self, state: State) -> State:
        own, rest = self._parted(state)
        return rest | self._prefixed(self.layout.to_ours(own))

    def to_theirs(self, state: State) -> State:
        own, rest = self._parted(state)
        return rest | self._prefixed(self.layout.to_theirs(own))

    def _parted(self, state: State) -> tuple[State, State]:
        prefix = f"{self.module}." if self.module else ""
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        return own, {name: value for name, value in state.items() if not name.startswith(prefix)}

    def _prefixed(self, state: State) -> State:
        prefix = f"{self.module}." if self.module else ""
        return {prefix + name: value for name, value in state.items()}


class _Tree:
    """Paths to look names up in: the longest path that a name begins with, numbers that are written out first."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self.children: dict[str, _Tree] = {}
        self.target: Path | None = None
        for source, target in pairs:
            if source.count(ANY_NUMBER) != target.count(ANY_NUMBER):
                raise ValueError(f"{_dotted(source)} and {_dotted(target)} do not have the same number of {ANY_NUMBER}")
            node = self
            for segment in source:
                node = node.children.setdefault(segment, _Tree(()))
            if node.target is not None:
                raise ValueError(f"{_dotted(source)} is renamed twice, to {_dotted(node.target)} and {_dotted(target)}")
            node.target = target

    def rename(self, state: State, where: str) -> State:
        renamed: State = {}
        origin: dict[str, str] = {}
        for old, tensor in state.items():
            new = self._renamed(old)
            if new in renamed:
                raise CheckpointError(f"{where}: both {origin[new]} and {old} would become {new}")
            renamed[new], origin[new] = tensor, old
        return renamed

    def _renamed(self, name: str) -> str:
        segments = tuple(name.split("."))
        length, target, numbers = max(self._matches(segments, ()), key=lambda match: match[0], default=(0, (), ()))
        given = iter(numbers)
        begins = [next(given) if segment == ANY_NUMBER else segment for segment in target]
        return ".".join((*begins, *segments[length:]))

    def _matches(self, segments: Path, numbers: Path, depth: int = 0) -> Iterator[tuple[int, Path, Path]]:
        """Yield the length, target and numbers of every path that the segments begin with, the most literal first."""
        if self.target is not None:
            yield depth, self.target, numbers
        if depth < len(segments):
            segment = segments[depth]
            if segment in self.children:
                yield from self.children[segment]._matches(segments, numbers, depth + 1)
            if segment.isdecimal() and ANY_NUMBER in self.children:
                yield from self.children[ANY_NUMBER]._matches(segments, (*numbers, segment), depth + 1)


def _flat(names: Names, theirs: Path = (), ours: Path = ()) -> Iterator[tuple[Path, Path]]:
    """Yield the pairs of paths that a nested table stands for."""
    for source, target in names.items():
        path, inner = (target, {}) if isinstance(target, str) else target
        below = (*theirs, *_path(source)), (*ours, *_path(path))
        if "" not in (*inner, *inner.values()):  # otherwise the pair within says all
            yield below
        yield from _flat(inner, *below)


def _path(dotted: str) -> Path:
    return tuple(dotted.split(".")) if dotted else ()


def _dotted(path: Path) -> str:
    return repr(".".join(path))


def _tensors(weights: Mapping[str, Any], where: str) -> State:
    others = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f"{where}: {len(others)} of its weights are not tensors ({few(others)})")
    return dict(weights)
