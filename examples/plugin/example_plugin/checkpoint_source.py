"""A checkpoint source: models of the method `example_sum` as another project might save them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from example_plugin.dataset import DISCS
from vitrail import Checkpoint, ModelCard, register_source

KEY = "example_project"  # what such a file holds beside its weights
NAMES = {"encoder.": "backbone.", "decoder.project.": "head.projections.", "decoder.classify.": "head.classifier."}


@register_source("example_project")
class ExampleProject:
    """Checkpoints of a project with other names for the same weights."""

    title = "the example project"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the project wrote this checkpoint."""
        return KEY in checkpoint.metadata

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, dict[str, Tensor]]:
        """Return the card and the weights under vitrail's names."""
        model: dict[str, Any] = {
            "segmentor": "example_sum",
            "backbone": "example_pyramid",
            "backbone_options": {"width": int(checkpoint.metadata[KEY]["width"])},
            "options": {"channels": int(checkpoint.metadata[KEY]["channels"])},
        }
        card = card or ModelCard(DISCS.classes, DISCS.palette, recipe={"name": "example", "model": model})
        return card, {_ours(name): tensor for name, tensor in checkpoint.tensors.items()}


def _ours(name: str) -> str:
    theirs = next((prefix for prefix in NAMES if name.startswith(prefix)), "")
    return NAMES.get(theirs, "") + name.removeprefix(theirs)
