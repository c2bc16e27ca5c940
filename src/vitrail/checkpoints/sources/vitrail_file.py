"""vitrail's own model files."""

from __future__ import annotations

from pathlib import Path

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.native import METADATA_KEY, read_native, save_model
from vitrail.checkpoints.sources.renaming import State
from vitrail.checkpoints.sources.source import register_source
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard, Segmentor


@register_source("vitrail")
class VitrailFile:
    """Self-describing .safetensors files, as `save_model` writes them."""

    title = "vitrail"
    suffixes = (".safetensors",)

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the file's header holds a model card."""
        return METADATA_KEY in checkpoint.metadata

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        if card is not None:
            raise CheckpointError(
                f"{checkpoint.origin} says itself how its model is built: leave out like=… (--like on the command line)"
            )
        return read_native(checkpoint)

    def write(self, model: Segmentor, path: Path) -> str:
        """Write the file; see `Writer`."""
        save_model(model, path)
        return "one file is enough to load it"
