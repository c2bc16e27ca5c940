"""Checkpoints of SCTNet's authors (github.com/xzz777/SCTNet), whose code is built on MMSegmentation's first generation.

A file holds `state_dict`. Its tensors tell how the model is built, but not which size it sees images in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.complete import complete_section
from vitrail.checkpoints.index import find_by_file, find_by_fingerprint
from vitrail.checkpoints.sources.indexed import IndexedSource
from vitrail.checkpoints.sources.layouts import PartsLeftOut
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.checkpoints.sources.source import register_source
from vitrail.errors import CheckpointError
from vitrail.recipes import ModelConfig
from vitrail.segmentors import ModelCard, Segmentor
from vitrail.segmentors.sctnet import EARLY_WEIGHT

_EARLY = "auxiliary_head.0."
_TEACHER = "auxiliary_head.1."  # the transformer that the model was trained to follow, and what aligns the two
_ALIGNMENT = "head.alignment."  # of ours
_ENCODERS = ("sctnet_s", "sctnet_b")
_BLOCK: Names = {
    **{f"conv{i}": f"conv{i}.conv" for i in (1, 2)},
    **{f"bn{i}": f"conv{i}.bn" for i in (1, 2)},
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.bn",
}
_FORMER: Names = {
    "attn_l.norm": "attention.norm",
    "attn_l.kv": "attention.down",
    "attn_l.kv3": "attention.across",
    **{f"mlp_l.{name}": name for name in ("norm", "conv1", "conv2")},
}
_NORM_ACT_CONV: Names = {"0": "bn", "2": "conv"}
_PYRAMID: Names = {
    "scale0": ("finest", _NORM_ACT_CONV),
    **{f"scale{i + 1}": (f"coarser.{i}.1", {"1": "bn", "3": "conv"}) for i in range(4)},
    **{f"process{i + 1}": (f"process.{i}", _NORM_ACT_CONV) for i in range(4)},
    "compression": ("compress", _NORM_ACT_CONV),
    "shortcut": ("shortcut", _NORM_ACT_CONV),
}
_DECODER: Names = {"bn1": "conv.bn", "conv1": "conv.conv", "bn2": "norm", "conv_seg": "classifier"}
_RENAMING = Renaming(
    {
        "backbone": (
            "backbone",
            {
                "conv1": ("stem", {"0": "0.conv", "1": "0.bn", "3": "1.conv", "4": "1.bn"}),
                **{f"layer{i}.*": (f"stage{i}.*", _BLOCK) for i in (1, 2, 3)},
                "layer3_2": ("former3", _FORMER),
                "convdown4": ("down", {"0": "conv", "1": "bn"}),
                **{f"layer{i}": (f"former{i}", _FORMER) for i in (4, 5)},
                "spp": ("pyramid", _PYRAMID),
            },
        ),
        "decode_head": ("head.decoder", _DECODER),
        _EARLY.rstrip("."): ("head.early", _DECODER),
    },
    before=(PartsLeftOut((_TEACHER,)),),
)


@register_source("sctnet")
class SCTNet(IndexedSource):
    """Checkpoints that SCTNet's authors published, and that their models load."""

    name = "sctnet"
    title = "SCTNet"
    suffixes = (".pth",)
    known_by = frozenset({"backbone.layer3_2.attn_l.norm.weight"})
    precedes = ("mmseg",)  # whose decode heads have the same names

    def renaming(self, model: ModelConfig) -> Renaming:
        """Return the names of the tensors; see `IndexedSource`."""
        model = complete_section(model)
        if model.segmentor != "sctnet" or model.backbone not in _ENCODERS:
            raise UnsupportedError(f"{self.title} has no model like {model.segmentor} on {model.backbone}")
        return _RENAMING

    def indexed_card(self, checkpoint: Checkpoint) -> ModelCard:
        """Return the card of the published model with these tensors, of which the index knows those for predictions.

        Raises
        ------
        CheckpointError
            When there is none, or several that see images in different sizes.
        """
        ours = {name: value for name, value in checkpoint.tensors.items() if not name.startswith((_EARLY, _TEACHER))}
        alike = find_by_fingerprint(ours, self.name)
        if len(alike) > 1 and find_by_file(checkpoint.origin.name) not in alike:
            names = ", ".join(entry.name for entry in alike)
            raise CheckpointError(
                f"{checkpoint.origin} is a checkpoint of {self.title} that does not say in which size it sees images; "
                f"published models with these tensors are {names}: say which it is built like (like=…, --like on the "
                "command line)"
            )
        return super().indexed_card(replace(checkpoint, tensors=ours))

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights, with an early classifier where the file has one; see `Source`."""
        card, state = super().translate(checkpoint, card)
        weight = card.recipe["model"].get("options", {}).get("early_weight", EARLY_WEIGHT)
        if bool(weight) != any(name.startswith(_EARLY) for name in checkpoint.tensors):  # not needed for predictions
            card = _with_options(card, early_weight=0.0 if weight else EARLY_WEIGHT)
        return card, state

    def to_write(self, model: Segmentor) -> tuple[ModelCard, ModelConfig, State]:
        """Return what is written: all but the layers that align the model with a teacher."""
        card, section, state = super().to_write(model)
        if section.options.get("alignment") is not None:
            card = _with_options(card, alignment=None)
            state = {name: value for name, value in state.items() if not name.startswith(_ALIGNMENT)}
        return card, section, state


def _with_options(card: ModelCard, **options: Any) -> ModelCard:
    """Return the card of a model that is built with other options of the method."""
    model = card.recipe["model"]
    model = {**model, "options": {**model.get("options", {}), **options}}
    return replace(card, recipe={**card.recipe, "model": model})
