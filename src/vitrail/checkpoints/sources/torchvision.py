"""Segmentation models of torchvision, FCN and DeepLabv3 on ResNets: published ones and those of its reference script.

References
----------
https://docs.pytorch.org/vision/stable/models.html#semantic-segmentation
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchvision.models import get_model_weights

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.renaming import Names, Renaming, State
from vitrail.checkpoints.sources.source import register_source
from vitrail.datasets.label_sets import label_set
from vitrail.errors import CheckpointError, nearest
from vitrail.segmentors import ModelCard

TORCHVISION = "torchvision/"
_MODELS = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
_DEPTHS = {6: "resnet50", 23: "resnet101"}  # by the blocks of the third stage
_AUXILIARY_WEIGHT = 0.5  # of its reference script
_LARGEST = 8192  # of images that a model file may ask for; torchvision has no limit

_ENCODER: Names = {"backbone": "backbone.encoder"}
_AUXILIARY: Names = {
    "aux_classifier.0": "auxiliary.0.convs.0.conv",
    "aux_classifier.1": "auxiliary.0.convs.0.bn",
    "aux_classifier.4": "auxiliary.0.classifier",
}
_FCN: Names = {
    "classifier.0": "head.convs.0.conv",
    "classifier.1": "head.convs.0.bn",
    "classifier.4": "head.classifier",
}
_BRANCH: Names = {"0": "conv", "1": "bn"}
_DEEPLABV3: Names = {
    **{f"classifier.0.convs.{index}": (f"head.pyramid.branches.{index}", _BRANCH) for index in range(4)},
    "classifier.0.convs.4": ("head.pyramid.pool.1", {"1": "conv", "2": "bn"}),
    "classifier.0.project": ("head.pyramid.fuse", _BRANCH),
    "classifier.1": "head.refine.conv",
    "classifier.2": "head.refine.bn",
    "classifier.4": "head.classifier",
}


@register_source("torchvision")
class Torchvision:
    """State dictionaries of torchvision's segmentation models."""

    title = "torchvision"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the names are those of a model of torchvision."""
        begins = ("backbone.", "classifier.", "aux_classifier.")
        names = checkpoint.tensors
        return "backbone.conv1.weight" in names and all(name.startswith(begins) for name in names)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        weights, where = checkpoint.tensors, str(checkpoint.origin)
        if card is not None:
            raise CheckpointError(f"{where} says how its model is built: leave out like=… (--like on the command line)")
        pyramid = "classifier.0.convs.0.0.weight" in weights
        backbone, classes = _backbone(weights, where), _number_of_classes(weights, where)
        voc = label_set("voc")
        if classes != len(voc.classes):
            raise CheckpointError(
                f"{where} is a model of torchvision for {classes} classes; those for VOC's {len(voc.classes)} can be "
                "read, since nothing in such a file says which classes they are"
            )
        published = _published(checkpoint.origin.name)
        recipe = {
            "name": published or f"{'deeplabv3' if pyramid else 'fcn'}_{backbone}",
            "model": _model(backbone, classes, pyramid=pyramid, auxiliary="aux_classifier.4.weight" in weights),
            "data": {
                "dataset": "voc",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "eval_resize": {"size": [520, _LARGEST], "antialias": True},
            },
            "train": {"iterations": "auto"},
            "evaluation": {"mode": "whole", "average": "logits"},
        }
        source = get_model_weights(published)["DEFAULT"].url if published else self.title
        card = card_from_recipe(recipe, source=source, license="BSD-3-Clause")
        renaming = Renaming({**_ENCODER, **(_DEEPLABV3 if pyramid else _FCN), **_AUXILIARY})
        return card, renaming.to_ours(weights, where)


def torchvision_url(name: str) -> str:
    """Return the address of a published model.

    Parameters
    ----------
    name : str
        "torchvision/fcn_resnet50", and so on.

    Raises
    ------
    CheckpointError
        For another name; the nearest one is suggested.
    """
    names = [TORCHVISION + each for each in _MODELS]
    if name not in names:
        raise CheckpointError(
            f"vitrail reads no published model {name!r}.{nearest(name, names)} It reads {', '.join(names)}"
        )
    url: str = get_model_weights(name.removeprefix(TORCHVISION))["DEFAULT"].url
    return url


def _published(file: str) -> str:
    """Return the published model whose file has this name, or ""."""
    return next((name for name in _MODELS if torchvision_url(TORCHVISION + name).rpartition("/")[2] == file), "")


def _backbone(weights: Mapping[str, Any], where: str) -> str:
    blocks = {found[1] for name in weights if (found := re.match(r"backbone\.layer3\.(\d+)\.conv3\.", name))}
    if len(blocks) not in _DEPTHS:
        raise CheckpointError(
            f"{where} is a model of torchvision on another encoder than {', '.join(_DEPTHS.values())}"
        )
    return _DEPTHS[len(blocks)]


def _number_of_classes(weights: Mapping[str, Any], where: str) -> int:
    weight = weights.get("classifier.4.weight")
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        raise CheckpointError(f"{where} is a model of torchvision without the classifier of FCN or DeepLabv3")
    return len(weight)


def _model(backbone: str, classes: int, *, pyramid: bool, auxiliary: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"channels": 512, "num_convs": 1}
    if pyramid:
        options = {"channels": 256, "dilations": [1, 12, 24, 36], "fuse_kernel_size": 1, "refine": True, "dropout": 0.5}
    return {
        "segmentor": "deeplabv3" if pyramid else "fcn",
        "backbone": backbone,
        "output_stride": 8,
        "num_classes": classes,
        "options": options,
        "auxiliary": {"weight": _AUXILIARY_WEIGHT, "channels": [256]} if auxiliary else {"weight": 0.0},
    }
