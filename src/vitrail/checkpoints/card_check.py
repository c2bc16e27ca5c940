"""Checks of what a file says about its model, whoever wrote the file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, ValidationError

from vitrail.errors import CheckpointError
from vitrail.files.foreign import foreign_data
from vitrail.labels import MAX_CLASSES
from vitrail.recipes.section import Deviation, Mean
from vitrail.segmentors import ModelCard

_Byte = Annotated[int, Field(ge=0, le=255)]
_Figure = Annotated[float, AllowInfNan()]  # an mIoU is NaN where nothing was labelled


class _Card(BaseModel):
    """The types and bounds of a `ModelCard`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]
    palette: tuple[tuple[_Byte, _Byte, _Byte], ...]
    mean: tuple[Mean, ...]
    std: tuple[Deviation, ...]
    recipe: dict[str, Any]
    name: str
    source: str
    license: str
    metrics: dict[str, _Figure | None]
    imports: tuple[str, ...]
    started_from: str


def check_card(card: ModelCard, in_channels: int, where: str) -> None:
    """Check the values of a card that came from a file.

    Parameters
    ----------
    card : ModelCard
        The card.
    in_channels : int
        Channels of the images that the model takes.
    where : str
        The file, for messages.

    Raises
    ------
    CheckpointError
        For a value of another type than it should have or beyond its bounds, another number of colours than of classes,
        and a normalisation for another number of channels than the model takes.
    """
    try:
        _Card.model_validate(vars(card))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{where}: its model card is wrong: {key}: {first['msg']}") from error
    if len(card.palette) != len(card.classes):
        raise CheckpointError(
            f"{where}: its model card is wrong: {len(card.palette)} colours for {len(card.classes)} classes"
        )
    channels = (len(card.mean), len(card.std), in_channels)
    if len(set(channels)) > 1:
        raise CheckpointError(
            f"{where}: its model card is wrong: mean, std and the model disagree about the number of channels: "
            f"{channels}"
        )


def description_of(where: str) -> AbstractContextManager[None]:
    """Return the context in which what a file says about its model is read: what fails there is the file's fault.

    Raises
    ------
    CheckpointError
        In place of the errors of Python about values of an unforeseen kind.
    """
    return foreign_data(
        CheckpointError, lambda error: f"{where}: what it says about its model cannot be used ({error})"
    )
