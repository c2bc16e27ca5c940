"""Checkpoints of MMSegmentation, of both its generations.

A file holds `state_dict`, and in `meta` the text of the config that built the model and the names of its classes: all
that is needed, also for models that users trained themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.index.identify import card_from_index, config_of
from vitrail.checkpoints.sources.mmseg.config import read_config, recipe_from_config
from vitrail.checkpoints.sources.mmseg.encoders import BACKBONES
from vitrail.checkpoints.sources.mmseg.heads import METHODS
from vitrail.checkpoints.sources.records import model_renaming
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.writing import CARD_KEY, model_to_write, write_torch_file, written_card
from vitrail.errors import CheckpointError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor

NAME = "mmseg"
BACKGROUND = "background"  # the first class of a model of one output that names the second one alone


@register_source(NAME)
class MMSegmentation:
    """Checkpoints that MMSegmentation's runner wrote, and that its `init_model` reads."""

    title = "MMSegmentation"
    suffixes = (".pth",)

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether there is a decode head: every model of the project has one.

        Those of transformers call their last layer "classifier", which no head of the project does.
        """
        heads = [name for name in checkpoint.tensors if name.startswith("decode_head.")]
        return bool(heads) and not any(name.startswith("decode_head.classifier.") for name in heads)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        card = card or _own_card(checkpoint) or card_from_index(checkpoint, NAME, self.title)
        where = str(checkpoint.origin)
        return card, renaming(section_of(card, where)).to_ours(checkpoint.tensors, where)

    def write(self, model: Segmentor, path: Path) -> str:
        """Write `state_dict` and `meta`, which names the classes; see `Writer`."""
        card, section, state = model_to_write(model)
        weights = renaming(section).to_theirs(state, f"the model for {path}")
        meta = {
            "dataset_meta": {"classes": card.classes, "palette": [list(colour) for colour in card.palette]},
            CARD_KEY: card.to_dict(),
        }
        write_torch_file({"meta": meta, "state_dict": OrderedDict(weights)}, path)
        return config_of(card, section, NAME, self.title)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming of the model that a recipe's model section describes.

    Raises
    ------
    UnsupportedError
        When MMSegmentation has no such model.
    """
    return model_renaming(METHODS, BACKBONES, model, encoder="backbone", title=MMSegmentation.title)


def _own_card(checkpoint: Checkpoint) -> ModelCard | None:
    """Return the card in a checkpoint, or the one that follows from its config; None when it has neither."""
    meta = checkpoint.metadata.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    where = str(checkpoint.origin)
    text = meta.get("cfg") or meta.get("config")
    if not isinstance(text, str):
        return written_card(meta, where)
    recipe = _recipe(text, str(meta.get("exp_name") or meta.get("experiment_name") or ""), where)
    described = meta.get("dataset_meta")
    named = described if isinstance(described, Mapping) else meta
    classes, palette = _named_classes(named, recipe["model"]["num_classes"], where)
    return card_from_recipe(recipe, source=MMSegmentation.title, license="Apache-2.0", classes=classes, palette=palette)


def _named_classes(named: Mapping[str, Any], outputs: int, where: str) -> tuple[Any, Any]:
    """Return names and colours of the classes, None for those that are missing; of one output there are two."""
    classes = named.get("classes") or named.get("CLASSES")
    palette = named.get("palette") or named.get("PALETTE")
    if isinstance(classes, str):  # ("water") in place of ("water",)
        classes = (classes,)
    if classes is not None and outputs == 1 and len(classes) == 1:
        classes, palette = (BACKGROUND, *classes), None
    if classes is not None and len(classes) != (2 if outputs == 1 else outputs):
        raise CheckpointError(
            f"{where} names {len(classes)} classes ({', '.join(map(str, classes[:4]))}), but its model has {outputs} "
            "outputs"
        )
    return classes, palette


def _recipe(text: str, name: str, where: str) -> dict[str, Any]:
    config = read_config(text, where)
    try:
        return recipe_from_config(config, name, where)
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # a value of another type than configs have
        raise CheckpointError(
            f"{where}: its config is not one of {MMSegmentation.title} ({type(error).__name__}: {error})"
        ) from error
