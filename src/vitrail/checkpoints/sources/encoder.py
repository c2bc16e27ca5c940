"""Another project's encoder and model in the terms of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.losses import Terms, auxiliary_losses
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.recipes import ModelConfig


@dataclass(frozen=True)
class Encoder:
    """An encoder of another project, in the terms of `vitrail.create_backbone`.

    Attributes
    ----------
    name : str
        The backbone's name.
    output_stride : int or None
        Of dilated encoders.
    options : dict
        Further arguments of the builder.
    in_channels : int
        Channels of the images.
    order : tuple of int
        For each of their maps, which of ours it is.
    takes_neck : bool
        Whether a neck over its maps is a part of the encoder here, as for plain transformers.
    """

    name: str
    output_stride: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    in_channels: int = 3
    order: tuple[int, ...] = (0, 1, 2, 3)
    takes_neck: bool = False


def model_config(
    segmentor: str,
    encoder: Encoder,
    num_classes: int,
    options: Mapping[str, Any],
    auxiliary: Mapping[str, Any],
    losses: Sequence[Terms],
    where: str,
) -> ModelConfig:
    """Return the model section of a recipe.

    Parameters
    ----------
    segmentor : str
        The method's name.
    encoder : Encoder
        What it stands on.
    num_classes : int
        K, the number of classes.
    options : mapping
        Arguments of the method's builder.
    auxiliary : mapping
        Its auxiliary heads, as `vitrail.recipes.AuxiliaryConfig` has them; empty for a method that has none.
    losses : sequence of list of dict
        The terms of the main head's criterion, then those of each auxiliary head's.
    where : str
        For messages.

    Raises
    ------
    UnsupportedError
        When a value cannot be what the recipe's schema demands.
    """
    given: dict[str, Any] = {"segmentor": segmentor, "backbone": encoder.name}
    given |= {"output_stride": encoder.output_stride} if encoder.output_stride else {}
    given |= {"in_channels": encoder.in_channels} if encoder.in_channels != 3 else {}
    given |= {"num_classes": num_classes}
    given |= {"backbone_options": as_lists(encoder.options)} if encoder.options else {}
    given |= {"options": as_lists(options), "losses": losses[0]}
    different = auxiliary_losses(losses[0], losses[1:], where)
    described = {**as_lists(auxiliary), **({} if different is None else {"losses": different})}
    given |= {"auxiliary": described} if described else {}
    try:
        return ModelConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UnsupportedError(f"{where}: {key} would be {first['input']!r}: {first['msg']}") from error


def as_given(model: ModelConfig) -> dict[str, Any]:
    """Return a model section as plain data, without what it leaves to the defaults."""
    data: dict[str, Any] = model.model_dump(mode="json", exclude_unset=True)
    return data
