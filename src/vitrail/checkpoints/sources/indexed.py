"""Checkpoints whose tensors alone tell how the model is built: those that the authors of single methods publish."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import section_of
from vitrail.checkpoints.index.identify import card_from_index, config_of
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.writing import CARD_KEY, model_to_write, write_torch_file, written_card
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor


class IndexedSource(ABC):
    """A `Source` and `Writer` of files that hold a state dict, and a method's published models are in the index.

    Attributes
    ----------
    name : str
        The project in the index.
    title : str
        Its name, for messages.
    key : str
        Where the state dict is in a file.
    known_by : frozenset of str
        Names of tensors that its models have, and no other project's.
    precedes : tuple of str
        See `Source.recognise`.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = (".pt", ".pth")
    key: str = "state_dict"
    known_by: frozenset[str]
    precedes: tuple[str, ...] = ()

    @abstractmethod
    def renaming(self, model: ModelConfig) -> Renaming:
        """Return the renaming of the model that a recipe's model section describes.

        Raises
        ------
        UnsupportedError
            When the authors have no such model.
        """

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the tensors have the authors' names."""
        return self.known_by <= checkpoint.tensors.keys()

    def indexed_card(self, checkpoint: Checkpoint) -> ModelCard:
        """Return the card of the published model that has the name of the file, or these tensors."""
        return card_from_index(checkpoint, self.name, self.title)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin)
        card = card or written_card(checkpoint.metadata, where) or self.indexed_card(checkpoint)
        return card, self.renaming(section_of(card, where)).to_ours(checkpoint.tensors, where)

    def to_write(self, model: Segmentor) -> tuple[ModelCard, ModelConfig, State]:
        """Return the card of a model, its section and its weights under our names, as far as they are written."""
        return model_to_write(model)

    def write(self, model: Segmentor, path: Path) -> str:
        """Write `model`; see `Writer`."""
        card, section, state = self.to_write(model)
        weights = self.renaming(section).to_theirs(state, f"the model for {path}")
        write_torch_file({self.key: OrderedDict(weights), CARD_KEY: card.to_dict()}, path)
        return config_of(card, section, self.name, self.title)
