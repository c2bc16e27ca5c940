"""Layouts: reversible changes of tensors beyond their names, such as another order of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.checkpoints.sources.renaming import State


@dataclass(frozen=True)
class Change:
    """A tensor whose values are ordered or shaped otherwise.

    Attributes
    ----------
    end : str
        How the names of such tensors end: whole modules.
    to : callable
        Their tensor to ours.
    back : callable
        The inverse of `to`.
    """

    end: str
    to: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: self.to(value) if ends(name, self.end) else value for name, value in state.items()}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return {name: self.back(value) if ends(name, self.end) else value for name, value in state.items()}


@dataclass(frozen=True)
class Split:
    """A tensor of theirs that is several of ours, one below the other.

    Attributes
    ----------
    whole : str
        How the name of their tensor ends.
    parts : sequence of (str, int)
        How the names of ours end, and the share of the rows that each of them has.
    """

    whole: str
    parts: Sequence[tuple[str, int]]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return split(state, self.whole, self.parts)

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return join(state, self.whole, self.parts)


@dataclass(frozen=True)
class Join:
    """Several tensors of theirs that are one of ours; see `Split`."""

    parts: Sequence[tuple[str, int]]
    whole: str

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return join(state, self.whole, self.parts)

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return split(state, self.whole, self.parts)


@dataclass(frozen=True)
class OnlyTheirs:
    """A tensor that their checkpoints hold beside another and that our model does not have, such as a buffer.

    Attributes
    ----------
    end : str
        How its name ends.
    beside : str
        How the name of the tensor ends that is there whenever it is.
    make : callable
        That tensor to this one.
    """

    end: str
    beside: str
    make: Callable[[Tensor], Tensor]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if not ends(name, self.end)}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        made = dict(state)
        for name, value in state.items():
            if ends(name, self.beside):
                made[name.removesuffix(self.beside) + self.end] = self.make(value)
        return made


@dataclass(frozen=True)
class OnlyOurs:
    """Tensors of ours, by name, that their model makes of others; whoever reads theirs makes them, too."""

    names: tuple[str, ...]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return state

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if name not in self.names}


@dataclass(frozen=True)
class LeftOut:
    """Tensors that our model does not need, by how their names end; they are not written back."""

    ends: tuple[str, ...]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if not name.endswith(self.ends)}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return state


@dataclass(frozen=True)
class PartsLeftOut:
    """Modules that our model does not have, by how the names of their tensors begin; they are not written back."""

    begins: tuple[str, ...]

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name: value for name, value in state.items() if not name.startswith(self.begins)}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return state


@dataclass(frozen=True)
class ZerosWhereMissing:
    """A bias that our model has and that theirs may lack; one of zeros is left out on the way back.

    Attributes
    ----------
    name : str
        Of the bias.
    weight : str
        Of the weight [D, …] that it goes with.
    """

    name: str
    weight: str

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        if self.name in state or self.weight not in state:
            return state
        weight = state[self.weight]
        return {**state, self.name: weight.new_zeros(weight.shape[0])}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        if self.name in state and not state[self.name].any():
            return {name: value for name, value in state.items() if name != self.name}
        return state


@dataclass(frozen=True)
class UnnumberedWhenAlone:
    """A list of modules in which a single one stands without its number: `heads.weight`, not `heads.0.weight`."""

    name: str

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        prefix = f"{self.name}."
        rests = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
        if all(_numbered(rest) for rest in rests):
            return state
        return {
            f"{prefix}0.{name.removeprefix(prefix)}" if name.startswith(prefix) else name: value
            for name, value in state.items()
        }

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        prefix = f"{self.name}."
        if {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)} != {"0"}:
            return state
        return {
            prefix + name.removeprefix(f"{prefix}0.") if name.startswith(prefix) else name: value
            for name, value in state.items()
        }


@dataclass(frozen=True)
class Within:
    """A whole model within a module, but for what stands beside that.

    Attributes
    ----------
    module : str
        The module's name.
    beside : str
        The name of the other one.
    """

    module: str
    beside: str

    def to_ours(self, state: State) -> State:
        """See `Layout`."""
        return {name.removeprefix(f"{self.module}."): value for name, value in state.items()}

    def to_theirs(self, state: State) -> State:
        """See `Layout`."""
        return {
            name if name.startswith(f"{self.beside}.") else f"{self.module}.{name}": value
            for name, value in state.items()
        }


def _numbered(rest: str) -> bool:
    """Return whether a name begins with a module's place in a list.

    The members of a `Sequential` have numbers too; a parameter follows those at once: `0.weight`.
    """
    first, _, inner = rest.partition(".")
    return first.isdecimal() and "." in inner


def ends(name: str, end: str) -> bool:
    """Return whether the last modules of a name are these."""
    return name == end or name.endswith(f".{end}")


def split(state: State, whole: str, parts: Sequence[tuple[str, int]]) -> State:
    """Take tensors apart: those whose name ends with `whole`, into parts with these ends and shares of the rows."""
    result = dict(state)
    for name in [name for name in state if ends(name, whole)]:
        value = result.pop(name)
        unit = len(value) // sum(share for _, share in parts)
        for (end, _), piece in zip(parts, value.split([share * unit for _, share in parts]), strict=True):
            result[name.removesuffix(whole) + end] = piece
    return result


def join(state: State, whole: str, parts: Sequence[tuple[str, int]]) -> State:
    """Put tensors one below the other; the inverse of `split`."""
    result = dict(state)
    first = parts[0][0]
    for name in [name for name in state if ends(name, first)]:
        stem = name.removesuffix(first)
        if all(stem + end in result for end, _ in parts):
            result[stem + whole] = torch.cat([result.pop(stem + end) for end, _ in parts])
    return result


def from_unfolded(weight: Tensor) -> Tensor:
    """Bring the inputs of Swin's patch merging from (channel, row, column), as in `unfold`, to (column, row, channel).

    `weight` is [..., 4 C]: the reduction's matrix, or its norm's weight or bias.
    """
    return weight.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3)


def to_unfolded(weight: Tensor) -> Tensor:
    """Return the inverse of `from_unfolded`."""
    return weight.unflatten(-1, (2, 2, -1)).transpose(-3, -1).flatten(-3)


def as_matrix(weight: Tensor) -> Tensor:
    """Turn a 1 × 1 convolution [D, C, 1, 1] into the matrix of a linear layer [D, C]."""
    return weight.flatten(1)


def as_convolution(weight: Tensor) -> Tensor:
    """Return the inverse of `as_matrix`."""
    return weight[:, :, None, None]


def window_positions(table: Tensor) -> Tensor:
    """Return the row of Swin's table of position biases for every pair of pixels of a window, [W², W²].

    `table` is [(2 W - 1)², heads], for square windows of W × W.
    """
    window = (_root(len(table)) + 1) // 2
    return _positions(window, window)


def grid_positions(grid: tuple[int, int], table: Tensor) -> Tensor:
    """Return the row of BEiT's table of position biases for every pair of tokens, [1 + H W, 1 + H W].

    `grid` is (H, W), the number of patches; the last three rows of `table` are for the class token: from it, to it,
    and with itself.
    """
    height, width = grid
    positions = torch.zeros(height * width + 1, height * width + 1, dtype=torch.long)
    positions[1:, 1:] = _positions(height, width)
    positions[0, :] = len(table) - 3
    positions[:, 0] = len(table) - 2
    positions[0, 0] = len(table) - 1
    return positions


def _positions(height: int, width: int) -> Tensor:
    """Return (row difference + H - 1) (2 W - 1) + column difference + W - 1 for every pair of H × W pixels."""
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    down = rows[:, None] - rows[None, :] + height - 1
    along = columns[:, None] - columns[None, :] + width - 1
    return down * (2 * width - 1) + along


def _root(square: int) -> int:
    return round(square**0.5)
