"""Checkpoints of other projects: recognised by what is in them, renamed by tables a person can check, strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrail.checkpoints.sources.renaming import Part, rename_parts
from vitrail.checkpoints.state import load_state
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Importer:
    """A project whose checkpoints can be read.

    Attributes
    ----------
    project : str
        Its name, for messages.
    recognise : callable
        Says from the content of a file whether the project wrote it.
    weights : callable
        Returns the tensors in the content, under the project's names.
    card : callable
        `(content, name of the file)` to the card of the model, recipe included, or None where the file does not say how
        its model is built; raises a CheckpointError for what the project built but vitrail lacks.
    parts : callable
        The renaming of a model, by the model section of its recipe.
    """

    project: str
    recognise: Callable[[Content], bool]
    weights: Callable[[Content], Mapping[str, Any]]
    card: Callable[[Content, str], ModelCard | None]
    parts: Callable[[Mapping[str, Any]], Sequence[Part]]


def convert(weights: Mapping[str, Any], card: ModelCard, importer: Importer, source: str) -> Segmentor:
    """Make a model of another project's weights.

    Parameters
    ----------
    weights : mapping
        What `importer.weights` returned.
    card : ModelCard
        Describes the model; its recipe's model section says how it is built.
    importer : Importer
        Of the project.
    source : str
        The name of the file, for messages.

    Returns
    -------
    Segmentor
        On the CPU, in evaluation mode, with `card` set.

    Raises
    ------
    CheckpointError
        Unless every tensor of the file is used once and every tensor of the model filled; the message names the first
        few that are left over.
    """
    section = card.recipe["model"]
    state = rename_parts(weights, importer.parts(section), source)
    model = build_model(model_config_from_dict({**section, "pretrained": False}), len(card.classes), card=card)
    load_state(model, state, f"{source} (from {importer.project}, renamed)")
    return model.eval()
