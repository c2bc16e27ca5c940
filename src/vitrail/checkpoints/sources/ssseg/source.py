"""Checkpoints of SSSegmentation.

A file holds `model` and, when training wrote it, the state of that; nothing says how the model is built. What a file is
has to be known from its name, from the shapes in it, or from the user.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.index.identify import card_from_index, config_of
from vitrail.checkpoints.sources.records import model_renaming
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.ssseg.encoders import BACKBONES
from vitrail.checkpoints.sources.ssseg.heads import METHODS
from vitrail.checkpoints.sources.writing import CARD_KEY, model_to_write, write_torch_file, written_card
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor

NAME = "ssseg"


@register_source(NAME)
class SSSegmentation:
    """Checkpoints that SSSegmentation's trainer wrote, and that its `loadckpts` reads."""

    title = "SSSegmentation"
    suffixes = (".pth",)

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether there is an encoder under the name that the project gives it."""
        return any(name.startswith(("backbone_net.", "segmentor.backbone_net.")) for name in checkpoint.tensors)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin)
        card = card or written_card(checkpoint.metadata, where) or card_from_index(checkpoint, NAME, self.title)
        return card, renaming(section_of(card, where)).to_ours(checkpoint.tensors, where)

    def write(self, model: Segmentor, path: Path) -> str:
        """Write `model`; see `Writer`."""
        card, section, state = model_to_write(model)
        weights = renaming(section).to_theirs(state, f"the model for {path}")
        write_torch_file({"model": OrderedDict(weights), CARD_KEY: card.to_dict()}, path)
        return config_of(card, section, NAME, self.title)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming of the model that a recipe's model section describes.

    Raises
    ------
    UnsupportedError
        When SSSegmentation has no such model.
    """
    return model_renaming(METHODS, BACKBONES, model, encoder="backbone_net", title=SSSegmentation.title)
