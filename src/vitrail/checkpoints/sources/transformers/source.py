"""Folders of Hugging Face's transformers: config.json, weights, and usually preprocessor_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.hub import WEIGHTS
from vitrail.checkpoints.sources.encoder import as_given, model_config
from vitrail.checkpoints.sources.renaming import State
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.transformers.models import MODELS, Translation
from vitrail.checkpoints.sources.transformers.preprocessing import data_of
from vitrail.checkpoints.sources.transformers.settings import settings_of
from vitrail.datasets.label_sets import label_set, list_label_sets
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard

NAME = "transformers"
_PROCESSOR = "preprocessor_config.json"


@register_source(NAME)
class Transformers:
    """Folders that `save_pretrained` of transformers wrote, as they lie on the Hugging Face hub."""

    title = "transformers"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether a config.json beside the weights describes a model of the package."""
        if "vitrail" in checkpoint.metadata or checkpoint.origin.name not in WEIGHTS:
            return False
        config = checkpoint.config
        return config is not None and "model_type" in config

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin.parent / "config.json")
        if card is not None:
            raise CheckpointError(f"{where} says how the model is built: leave out like=… (--like on the command line)")
        config = checkpoint.config or {}
        try:
            model = translate_config(config, where)
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # a value of another type
            raise CheckpointError(f"{where} is not one of transformers ({type(error).__name__}: {error})") from error
        classes = class_names(config, where)
        section = model_config(
            model.segmentor,
            model.encoder,
            len(classes),
            model.options,
            model.auxiliary,
            [[{"name": "cross_entropy"}]],
            where,
        )
        recipe = {
            "name": checkpoint.origin.parent.name,
            "model": as_given(section),
            "data": {"dataset": dataset_of(classes), **_data(checkpoint)},
            "train": {"iterations": "auto"},
            "evaluation": {"mode": "whole", "average": "logits", "resize_once": model.resize_once},
        }
        card = card_from_recipe(recipe, source=self.title, license="", classes=classes)
        return card, model.renaming.to_ours(checkpoint.tensors, str(checkpoint.origin))


def translate_config(config: Mapping[str, Any], where: str) -> Translation:
    """Return the model that a config.json describes.

    Raises
    ------
    UnsupportedError
        When vitrail does not compute the same.
    """
    kind = config.get("model_type")
    if kind not in MODELS:
        raise UnsupportedError(f"{where}: vitrail has no model like transformers' {kind}; it has {', '.join(MODELS)}")
    architecture, translate = MODELS[kind]
    named = config.get("architectures") or [architecture]
    if architecture not in named:
        raise UnsupportedError(f"{where} describes {named[0]}, not a model of semantic segmentation ({architecture})")
    settings = settings_of(config, where)
    model = translate(settings)
    settings.finish()
    return model


def class_names(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes by their index.

    Raises
    ------
    CheckpointError
        When the indices of `id2label` are not 0, 1, 2, …
    """
    labels = config.get("id2label")
    if not isinstance(labels, Mapping) or not labels:
        raise CheckpointError(f"{where} names no classes (id2label)")
    named = {int(index): str(name) for index, name in labels.items()}
    if sorted(named) != list(range(len(named))):
        raise CheckpointError(f"{where}: the indices of id2label are not 0 to {len(named) - 1}")
    return tuple(named[index] for index in range(len(named)))


def dataset_of(classes: tuple[str, ...]) -> str:
    """Return the dataset that has these classes in this order, "folder" where none has."""

    def plain(names: tuple[str, ...]) -> list[str]:
        return [name.strip().lower() for name in names]

    return next((name for name in list_label_sets() if plain(label_set(name).classes) == plain(classes)), "folder")


def _data(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return how images are resized and normalised, as the data section of a recipe without its dataset."""
    path = checkpoint.origin.parent / _PROCESSOR
    values = checkpoint.beside(_PROCESSOR)
    if values is None:
        raise CheckpointError(
            f"there is no {path}, which says how images are resized and normalised: save the image processor of the "
            "model there too, with processor.save_pretrained(…)"
        )
    return data_of(values, str(path))
