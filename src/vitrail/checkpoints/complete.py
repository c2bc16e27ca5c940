"""The model section in a card: checked, and with everything that it leaves to defaults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vitrail.errors import CheckpointError, RecipeError
from vitrail.recipes import ModelConfig, model_config_from_dict
from vitrail.segmentors import SEGMENTORS, ModelCard, described_auxiliary


def section_of(card: ModelCard, where: str) -> ModelConfig:
    """Return how the model of a card is built; its weights are in the checkpoint, so that none are fetched.

    Raises
    ------
    CheckpointError
        When the recipe in the card is not one; `where` is the file, for the message.
    """
    try:
        return model_config_from_dict({**card.recipe["model"], "pretrained": False})
    except RecipeError as error:
        raise CheckpointError(f"{where}: {error}") from error


def complete_section(model: ModelConfig) -> ModelConfig:
    """Return a model section that gives the backbone, every option of the method, and its auxiliary heads.

    Raises
    ------
    ModelError
        For an unknown method.
    """
    method = SEGMENTORS[model.segmentor]
    defaults = {name: parameter.default for name, parameter in method.options.items()}
    auxiliary = model.auxiliary.model_copy(update=asdict(described_auxiliary(model)))
    changes: dict[str, Any] = {"options": {**defaults, **model.options}, "auxiliary": auxiliary}
    if model.backbone is None:
        stride = method.output_stride if model.output_stride is None else model.output_stride
        changes |= {"backbone": method.backbone, "output_stride": stride}
    return model.model_copy(update=changes)
