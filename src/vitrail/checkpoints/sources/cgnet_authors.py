"""Checkpoints of CGNet's authors: `{"epoch": …, "model": state_dict}` (github.com/wutianyiRosun/CGNet, MIT licence)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.layouts import ZerosWhereMissing
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.source import register_source
from vitrail.datasets import benchmarks
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard

# The authors subtract the mean of blue from red and the other way round, and divide by nothing.
CAMVID_MEAN = (105.658, 103.330, 99.625)
_NORM: Names = {"bn": "norm"}
_BLOCK: Names = {
    "conv1x1": ("reduce", _NORM),
    "F_loc.conv": "local",
    "F_sur.conv": "surround",
    "F_glo.fc": "context.weights",
    "bn_prelu": ("joint", _NORM),
}


@register_source("cgnet_authors")
class CGNetAuthors:
    """Weights that CGNet's authors published for CamVid."""

    title = "CGNet's authors"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the tensors have the authors' names."""
        return {"b1.bn.weight", "level2_0.F_sur.conv.weight", "bn_prelu_3.bn.weight"} <= checkpoint.tensors.keys()

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin)
        if card is not None:
            raise CheckpointError(
                f"{where} is a checkpoint of {self.title}, which is known without like=… (--like on the command line)"
            )
        weights = checkpoint.tensors
        blocks = (1 + _count(weights, r"level2\.(\d+)\."), 1 + _count(weights, r"level3\.(\d+)\."))
        classifier = _classifier(weights, where)
        card = _card(len(weights[f"{classifier}.conv.weight"]), blocks, where)
        return card, renaming(blocks, classifier).to_ours(weights, where)


def renaming(blocks: tuple[int, int], classifier: str = "classifier.0") -> Renaming:
    """Return the renaming of a CGNet.

    Parameters
    ----------
    blocks : (int, int)
        How many blocks its two levels have, the one that halves the map included.
    classifier : str
        Where the classifier is: behind a dropout it is "classifier.1".
    """
    names: dict[str, Any] = {
        **{f"level1_{i}": (f"backbone.stem.{i}", _NORM) for i in range(3)},
        "b1": ("backbone.norm0", _NORM),
        "bn_prelu_2": ("backbone.norm1", _NORM),
        "bn_prelu_3": ("backbone.norm2", _NORM),
        f"{classifier}.conv": "head.classifier",
    }
    for level, count in enumerate(blocks, start=1):
        halving = {"bn": "joint.norm", "act": "joint.act", "reduce.conv": "project"}
        names[f"level{level + 1}_0"] = (f"backbone.level{level}.0", {**_BLOCK, **halving})
        names |= {f"level{level + 1}.{i}": (f"backbone.level{level}.{i + 1}", _BLOCK) for i in range(count - 1)}
    return Renaming(names, (ZerosWhereMissing("head.classifier.bias", "head.classifier.weight"),))


def _count(weights: Mapping[str, Any], pattern: str) -> int:
    return len({found[1] for name in weights if (found := re.match(pattern, name))})


def _classifier(weights: Mapping[str, Any], where: str) -> str:
    """Return where the classifier is."""
    for name, value in weights.items():
        found = re.fullmatch(r"(classifier\.\d)\.conv\.weight", name)
        if found and isinstance(value, Tensor) and value.ndim:
            return found[1]
    raise CheckpointError(f"{where} is a checkpoint of CGNet's authors without a classifier")


def _card(num_classes: int, blocks: tuple[int, int], where: str) -> ModelCard:
    camvid = benchmarks()["camvid"]
    if num_classes != len(camvid.classes):
        raise CheckpointError(
            f"{where} is a checkpoint of CGNet's authors for {num_classes} classes; only those for CamVid's "
            f"{len(camvid.classes)} can be read, since nothing in such a file says which classes they are"
        )
    return ModelCard(
        classes=camvid.classes,
        palette=camvid.palette,
        mean=CAMVID_MEAN,
        std=(1.0, 1.0, 1.0),
        recipe={
            "name": "cgnet_camvid",
            "model": {
                "segmentor": "cgnet",
                "backbone": "cgnet_m3n21",
                "backbone_options": {"num_blocks": list(blocks)},
                "options": {"dropout": 0.0},
            },
            "data": {"dataset": "camvid", "mean": list(CAMVID_MEAN), "std": [1.0, 1.0, 1.0]},
            "train": {"epochs": 800, "batch_size": 8},
            "evaluation": {"mode": "whole"},
        },
        name="cgnet_m3n21_camvid",
        source="https://github.com/wutianyiRosun/CGNet",
        license="MIT",
    )
