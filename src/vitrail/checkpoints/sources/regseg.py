"""Checkpoints of RegSeg's author (github.com/RolandGao/RegSeg): `{"model": state_dict, "epoch": …}`.

Nothing says how the model is built, but that the published ones differ in their tensors.
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

NAME = "regseg"
# The finest stage of each encoder, here and there: a single block, which is no list there, or several.
_FINEST: dict[str, tuple[str, str]] = {
    "regseg": ("body.stage4", "backbone.stages.0.0"),
    "regseg_large": ("body.stage4.*", "backbone.stages.0.*"),
}
_SHARED: Names = {
    "conv1": "conv1.conv",
    "bn1": "conv1.bn",
    "bn2": "norm",
    "se": ("se", {"conv1": "fc1", "conv2": "fc2"}),
    "conv3": "conv3.conv",
    "bn3": "conv3.bn",
}
# A block of one dilation has a plain convolution there, others a list as here.
_SINGLE: Names = {**_SHARED, "conv2": "split.convs.0"}
_SPLIT: Names = {**_SHARED, "conv2": "split"}
_PLAIN_BLOCKS = 2  # at stride 16, before the dilations differ


@register_source(NAME)
class RegSeg:
    """Checkpoints that RegSeg's author published, and that his models load."""

    title = "RegSeg"
    suffixes = (".pt", ".pth")

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the tensors have the author's names."""
        return {"body.stage16.0.conv2.weight", "decoder.head16.conv.weight"} <= checkpoint.tensors.keys()

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
        When the author has no such model.
    """
    model = complete_section(model)
    finest = _FINEST.get(model.backbone or "")
    if model.segmentor != "regseg" or finest is None:
        raise UnsupportedError(f"{RegSeg.title} has no model like {model.segmentor} on {model.backbone}")
    return Renaming(
        {
            "stem": "backbone.stem.0",
            finest[0]: (finest[1], _SINGLE),
            "body.stage8.*": ("backbone.stages.1.*", _SINGLE),
            "body.stage16.*": ("backbone.stages.2.*", _SPLIT),
            **{f"body.stage16.{index}": (f"backbone.stages.2.{index}", _SINGLE) for index in range(_PLAIN_BLOCKS)},
            "decoder.head16": "head.project_coarse",
            "decoder.head8": "head.project_middle",
            "decoder.head4": "head.project_fine",
            "decoder.conv8": "head.conv_middle",
            "decoder.conv4": "head.conv_fine",
            "decoder.classifier": "head.classifier",
        }
    )
