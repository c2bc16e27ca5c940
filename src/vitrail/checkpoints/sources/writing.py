"""Writing models as checkpoints of other projects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitrail.checkpoints.complete import complete_section, section_of
from vitrail.checkpoints.native import read_card
from vitrail.checkpoints.sources.renaming import State
from vitrail.checkpoints.state import model_state
from vitrail.errors import CheckpointError
from vitrail.files.atomic import atomic_path
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor

# Under this key the card goes into files of other projects, which pass it over, so that vitrail can read them again.
CARD_KEY = "vitrail_card"


def model_to_write(model: Segmentor) -> tuple[ModelCard, ModelConfig, State]:
    """Return a model's card, its model section with every option of its builder, and its weights on the CPU.

    Raises
    ------
    CheckpointError
        When the model has no card, or one that does not say how the model is built.
    """
    if model.card is None or not model.card.recipe.get("model"):
        raise CheckpointError(
            "the model's card does not say how it is built; assign model.card a ModelCard that holds the recipe"
        )
    section = complete_section(section_of(model.card, "the model's card"))
    return model.card, section, {name: value.detach().cpu() for name, value in model_state(model).items()}


def written_card(metadata: Mapping[str, Any], where: str) -> ModelCard | None:
    """Return the card that vitrail wrote into another project's checkpoint, or None where there is none.

    Raises
    ------
    CheckpointError
        When it is incomplete.
    """
    described = metadata.get(CARD_KEY)
    return read_card({"card": described}, where) if isinstance(described, Mapping) else None


def write_torch_file(content: Mapping[str, Any], path: Path) -> None:
    """Write a dictionary with `torch.save`, whole or not at all.

    Raises
    ------
    CheckpointError
        When the file cannot be written; what was at `path` before is then still there.
    """
    try:
        with atomic_path(path) as temporary:
            torch.save(dict(content), temporary)
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        raise CheckpointError(f"cannot write {path}: {error}") from error
