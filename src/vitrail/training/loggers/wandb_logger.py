"""Weights & Biases: curves, sample predictions and the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from vitrail.training.loggers.logger import Logger, Picture, RunInfo, missing_library, register_logger
from vitrail.training.records import Record, scalars


@register_logger("wandb")
class WandbLogger(Logger):
    """Logs to Weights & Biases; a resumed run goes on with the same run id.

    Steps that were logged already, beyond the checkpoint that is resumed, are kept by the server: a resumed run
    repeats them exactly.

    Parameters
    ----------
    project : str
        The project.
    name : str, optional
        Display name of the run; None takes the name of the output folder.
    entity : str, optional
        User or team; None takes that of the login.
    group : str, optional
        A group of runs.
    tags : tuple of str
        Tags of the run.
    mode : {"online", "offline", "disabled"}, optional
        "offline" writes to the output folder only, for `wandb sync`; None follows the variable WANDB_MODE.

    Raises
    ------
    TrainingError
        When wandb is not installed.
    """

    wants_pictures: ClassVar[bool] = True

    def __init__(
        self,
        *,
        project: str = "vitrail",
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_library("wandb", "wandb", error) from error
        self._wandb = wandb
        self._settings: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "group": group,
            "tags": list(tags),
            "mode": mode,
        }
        self._name = name
        self._run: Any = None

    def start(self, run: RunInfo, state: Mapping[str, Any]) -> None:
        """Start the run, or go on with it."""
        known = state.get("id")
        self._run = self._wandb.init(
            **self._settings,
            name=self._name or run.folder.resolve().name,
            dir=str(run.folder),
            id=known,
            resume="allow" if known else None,
            config=run.recipe.model_dump(mode="json"),
            settings=self._wandb.Settings(console="off"),  # the text logger writes the lines
        )

    def train(self, record: Record) -> None:
        """Log the figures of a record."""
        self._run.log(dict(scalars(record)), step=record["iteration"])

    def evaluation(self, record: Record) -> None:
        """Log the figures of a record."""
        self.train(record)

    def pictures(self, iteration: int, pictures: Sequence[Picture]) -> None:
        """Log predictions."""
        images = {f"prediction/{picture.name}": self._wandb.Image(picture.image) for picture in pictures}
        self._run.log(images, step=iteration)

    def state(self) -> dict[str, Any]:
        """Return the run id."""
        return {"id": self._run.id}

    def finish(self, error: BaseException | None) -> None:
        """End the run, as failed when there was an error."""
        if self._run is not None:
            self._run.finish(exit_code=0 if error is None else 1)
