"""Checkpoints of EfficientViT's authors for segmentation (github.com/mit-han-lab/efficientvit).

A file holds `state_dict`; nothing says how the model is built, but that the published ones differ in their tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import complete_section, section_of
from vitrail.checkpoints.index.identify import card_from_index, config_of
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.checkpoints.sources.writing import CARD_KEY, model_to_write, write_torch_file, written_card
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor

NAME = "efficientvit"
_ENCODERS = "efficientvit_"  # how their names begin
_STAGES = 4


@register_source(NAME)
class EfficientViT:
    """Checkpoints that EfficientViT's authors published for segmentation, and that their models load."""

    title = "EfficientViT"
    suffixes = (".pt", ".pth")

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the tensors have the authors' names."""
        return {"head.input_ops.2.conv.weight", "head.output_ops.0.op_list.0.conv.weight"} <= checkpoint.tensors.keys()

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin)
        card = card or written_card(checkpoint.metadata, where) or card_from_index(checkpoint, NAME, self.title)
        return card, renaming(section_of(card, where)).to_ours(checkpoint.tensors, where)

    def write(self, model: Segmentor, path: Path) -> str:
        """Write `model`; see `Writer`."""
        card, section, state = model_to_write(model)
        weights = renaming(section).to_theirs(state, f"the model for {path}")
        write_torch_file({"state_dict": OrderedDict(weights), CARD_KEY: card.to_dict()}, path)
        return config_of(card, section, NAME, self.title)


def renaming(model: ModelConfig) -> Renaming:
    """Return the renaming of the model that a recipe's model section describes.

    Raises
    ------
    UnsupportedError
        When the authors have no such model.
    """
    model = complete_section(model)
    encoder = model.backbone or ""
    if model.segmentor != "efficientvit" or not encoder.startswith(_ENCODERS):
        raise UnsupportedError(f"{EfficientViT.title} has no model like {model.segmentor} on {encoder}")
    large = encoder.startswith(f"{_ENCODERS}l")  # the stem of the large ones is their first stage
    stem = "backbone.stages.0" if large else "backbone.input_stem"
    stages = {
        f"backbone.stages.{stage + large}.op_list.*": f"backbone.encoder.stages.{stage}.blocks.*"
        for stage in range(_STAGES)
    }
    widened = model.options["classifier_ratio"] is not None
    output: Names = {"head.output_ops.0.op_list.0": "head.widen"} if widened else {}
    return Renaming(
        {
            f"{stem}.op_list.0": "backbone.encoder.stem.in_conv",
            f"{stem}.op_list.1": "backbone.encoder.stem.res0",
            **stages,
            "head.input_ops.0.op_list.0": "head.projections.2",
            "head.input_ops.1.op_list.0": "head.projections.1",
            "head.input_ops.2": "head.projections.0",
            "head.middle.op_list.*": "head.blocks.*",
            **output,
            f"head.output_ops.0.op_list.{int(widened)}.conv": "head.classifier",
        }
    )
