"""The contract of a checkpoint source: how one project saves models, translated to ours and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.renaming import State
from vitrail.errors import CheckpointError
from vitrail.registry import Registry
from vitrail.segmentors import ModelCard, Segmentor


class Source(Protocol):
    """A project, or a file format, whose checkpoints can be loaded.

    Attributes
    ----------
    title : str
        Its name, for messages.
    """

    title: str

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the project wrote this checkpoint.

        No other source should claim it, but for those that an attribute `precedes`, if the source has one, names: of
        projects that this one's code is built on.
        """
        ...

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the model in a checkpoint: its card, recipe included, and its weights under our names.

        Parameters
        ----------
        checkpoint : Checkpoint
            One that `recognise` accepts.
        card : ModelCard or None
            What the caller says the model is; None finds out from the checkpoint.

        Raises
        ------
        CheckpointError
            When nothing says how the model is built, when vitrail does not compute the same, and for a `card` that
            contradicts the checkpoint. Whether every tensor finds its place is checked by the caller.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """A source that can also write models as its project saves them.

    Attributes
    ----------
    suffixes : tuple of str
        How the names of such files end; the first is the usual one. None for a project whose models are folders.
    """

    suffixes: tuple[str, ...]

    def write(self, model: Segmentor, path: Path) -> str:
        """Write a model to a file (or folder), whole or not at all; return a line that says what it goes with.

        Parameters
        ----------
        model : Segmentor
            Its `card` is set and holds the recipe.
        path : Path
            Where to.

        Raises
        ------
        CheckpointError
            When the project has no such model, or the file cannot be written.
        """
        ...


@runtime_checkable
class DeltaSource(Protocol):
    """A source whose checkpoints may hold delta weights: the differences from other weights."""

    def holds_deltas(self, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint of this source does."""
        ...

    def on_base(self, checkpoint: Checkpoint, base: Checkpoint) -> Checkpoint:
        """Return the checkpoint of weights that the differences make of those in `base`.

        Raises
        ------
        CheckpointError
            When they are not differences from these.
        """
        ...


SOURCES: Registry[Source] = Registry("checkpoint source", CheckpointError, "vitrail.checkpoints.sources")
SourceClass = TypeVar("SourceClass", bound=Callable[[], Source])


def register_source(name: str) -> Callable[[SourceClass], SourceClass]:
    """Return a decorator that registers an instance of a `Source` class under `name`.

    Examples
    --------
    >>> @register_source("my_project")
    ... class MyProject:
    ...     title = "My project"
    ...     def recognise(self, checkpoint): ...
    ...     def translate(self, checkpoint, card): ...
    """

    def decorator(kind: SourceClass) -> SourceClass:
        SOURCES.add(name, kind(), module=kind.__module__)
        return kind

    return decorator
