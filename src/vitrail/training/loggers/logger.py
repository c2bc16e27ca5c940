"""What a logger is, and the registry of loggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from PIL import Image

from vitrail.errors import TrainingError
from vitrail.recipes import LoggerConfig, Recipe
from vitrail.registry import Registry, check_arguments
from vitrail.training.plan import Plan
from vitrail.training.records import Record


@dataclass(frozen=True)
class RunInfo:
    """What a logger learns when a run starts.

    Attributes
    ----------
    folder : Path
        The output folder.
    recipe : Recipe
        The run's recipe.
    plan : Plan
        Its length, and when it logs, evaluates and saves.
    record : dict
        The first record: its event is "start", "resume", or "complete" when a resumed run has nothing left to do.
    history : tuple of dict
        The records before it, when the run is resumed.
    """

    folder: Path
    recipe: Recipe
    plan: Plan
    record: Record
    history: tuple[Record, ...]


@dataclass(frozen=True)
class Picture:
    """A prediction on an evaluation image.

    Attributes
    ----------
    name : str
        The image's id.
    image : PIL.Image.Image
        The image with the prediction as an overlay, and to the right of it with the true mask.
    """

    name: str
    image: Image.Image


class Logger:
    """Base class of loggers, whose methods do nothing. Only rank 0 creates and calls loggers.

    A logger that needs a library imports it in `__init__`, so that a missing one is reported before training starts.
    Records are described in `vitrail.training.records`.
    """

    wants_pictures: ClassVar[bool] = False

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Begin a run, or go on with it; `state` is what `state()` returned at the checkpoint that is resumed."""

    def train(self, record: Record) -> None:
        """Log the losses, learning rate, speed and memory of a window of iterations."""

    def evaluation(self, record: Record) -> None:
        """Log the figures of an evaluation."""

    def stop(self, record: Record) -> None:
        """Log that the run ends before its last iteration: `record["reason"]` says why."""

    def pictures(self, iteration: int, pictures: Sequence[Picture]) -> None:
        """Log predictions; called after an evaluation when `wants_pictures` is set."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the same log, such as an id; plain data."""
        return {}

    def finish(self, error: BaseException | None) -> None:
        """End the log; `error` is what ended the run early, if anything did."""


LoggerBuilder = Callable[..., Logger]
Builder = TypeVar("Builder", bound=LoggerBuilder)
LOGGERS: Registry[LoggerBuilder] = Registry("logger", TrainingError, "vitrail.training.loggers")


def register_logger(name: str) -> Callable[[Builder], Builder]:
    """Register a class or function `(*, …) -> Logger` under `name`.

    The keyword-only parameters are what the `options` of `train.loggers` can set.
    """
    return LOGGERS.register(name)


def list_loggers() -> list[str]:
    """Return the names of the loggers."""
    return list(LOGGERS)


def create_loggers(configs: Sequence[LoggerConfig]) -> dict[str, Logger]:
    """Create the loggers of a recipe, by name.

    Raises
    ------
    TrainingError
        For an unknown name or option, or a library that is not installed.
    """
    loggers = {}
    for config in configs:
        builder = LOGGERS[config.name]
        check_arguments(builder, config.options, f"logger {config.name!r}", TrainingError)
        loggers[config.name] = builder(**config.options)
    return loggers


def missing_library(logger: str, library: str, error: ImportError) -> TrainingError:
    """Return the error for a logger whose library is not installed."""
    return TrainingError(
        f"the logger {logger!r} needs {library} ({error}): pip install 'vitrail[logging]', "
        f"or take {logger} out of train.loggers"
    )
