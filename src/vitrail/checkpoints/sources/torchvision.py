"""Segmentation models of torchvision, FCN, DeepLabv3 and LR-ASPP: published ones and those of its reference script.

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
MODELS = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
_MOBILENET = "torchvision_mobilenetv3_large"
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
_LRASPP: Names = {
    "classifier.cbr": ("head.reduce", {"0": "conv", "1": "bn"}),
    "classifier.scale.1": "head.gate.0",
    "classifier.low_classifier": "head.low_classifier",
    "classifier.high_classifier": "head.classifier",
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
_HEADS = {"fcn": _FCN, "deeplabv3": _DEEPLABV3, "lraspp": _LRASPP}
_OPTIONS: dict[str, dict[str, Any]] = {
    "fcn": {"channels": 512, "num_convs": 1},
    "deeplabv3": {
        **{"channels": 256, "dilations": [1, 12, 24, 36], "fuse_kernel_size": 1, "refine": True, "dropout": 0.5}
    },
    "lraspp": {
        **{"channels": 128, "fuse_logits": True, "pool_size": None, "pool_norm": False, "norm_eps": 1e-5},
        "dropout": 0.0,
    },
}
_SQUEEZING = (2, 4, 5)  # stages whose blocks have squeeze and excitation
_MOBILE_STAGES = (2, 3, 4, 2, 3)  # blocks of MobileNetV3's stages behind the first


def _mobile_encoder() -> Names:
    """Return the names of MobileNetV3's modules: blocks in one list there, in stages here."""
    first = "backbone.encoder.blocks.0.0"
    names: dict[str, Any] = {
        "backbone.0.0": "backbone.encoder.conv_stem",
        "backbone.0.1": "backbone.encoder.bn1",
        "backbone.1.block.0.0": f"{first}.conv_dw",
        "backbone.1.block.0.1": f"{first}.bn1",
        "backbone.1.block.1.0": f"{first}.conv_pw",
        "backbone.1.block.1.1": f"{first}.bn2",
        "backbone.16.0": "backbone.encoder.blocks.6.0.conv",
        "backbone.16.1": "backbone.encoder.blocks.6.0.bn1",
    }
    places = [(stage + 1, block) for stage, count in enumerate(_MOBILE_STAGES) for block in range(count)]
    for index, (stage, block) in enumerate(places, start=2):
        theirs, ours = f"backbone.{index}.block", f"backbone.encoder.blocks.{stage}.{block}"
        squeezes = stage in _SQUEEZING
        convolutions = ("conv_pw", "conv_dw", "conv_pwl")
        for number, (place, name) in enumerate(zip((0, 1, 3 if squeezes else 2), convolutions, strict=True), start=1):
            names[f"{theirs}.{place}.0"] = f"{ours}.{name}"
            names[f"{theirs}.{place}.1"] = f"{ours}.bn{number}"
        if squeezes:
            names[f"{theirs}.2.fc1"] = f"{ours}.se.conv_reduce"
            names[f"{theirs}.2.fc2"] = f"{ours}.se.conv_expand"
    return names


@register_source("torchvision")
class Torchvision:
    """State dictionaries of torchvision's segmentation models."""

    title = "torchvision"

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the names are those of a model of torchvision."""
        begins = ("backbone.", "classifier.", "aux_classifier.")
        names = checkpoint.tensors
        stem = "backbone.conv1.weight" in names or "backbone.0.0.weight" in names
        return stem and all(name.startswith(begins) for name in names)

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        weights, where = checkpoint.tensors, str(checkpoint.origin)
        if card is not None:
            raise CheckpointError(f"{where} says how its model is built: leave out like=… (--like on the command line)")
        method, backbone = _method(weights), _backbone(weights, where)
        classes = _number_of_classes(weights, method, where)
        voc = label_set("voc")
        if classes != len(voc.classes):
            raise CheckpointError(
                f"{where} is a model of torchvision for {classes} classes; those for VOC's {len(voc.classes)} can be "
                "read, since nothing in such a file says which classes they are"
            )
        published = _published(checkpoint.origin.name)
        recipe = {
            "name": published or f"{method}_{backbone}",
            "model": _model(method, backbone, classes, auxiliary="aux_classifier.4.weight" in weights),
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
        encoder = _mobile_encoder() if backbone == _MOBILENET else _ENCODER
        renaming = Renaming({**encoder, **_HEADS[method], **_AUXILIARY})
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
    names = [TORCHVISION + each for each in MODELS]
    if name not in names:
        raise CheckpointError(
            f"vitrail reads no published model {name!r}.{nearest(name, names)} It reads {', '.join(names)}"
        )
    url: str = get_model_weights(name.removeprefix(TORCHVISION))["DEFAULT"].url
    return url


def _published(file: str) -> str:
    """Return the published model whose file has this name, or ""."""
    return next((name for name in MODELS if torchvision_url(TORCHVISION + name).rpartition("/")[2] == file), "")


def _method(weights: Mapping[str, Any]) -> str:
    if "classifier.low_classifier.weight" in weights:
        return "lraspp"
    return "deeplabv3" if "classifier.0.convs.0.0.weight" in weights else "fcn"


def _backbone(weights: Mapping[str, Any], where: str) -> str:
    if "backbone.16.0.weight" in weights and "backbone.17.0.weight" not in weights:
        return _MOBILENET
    blocks = {found[1] for name in weights if (found := re.match(r"backbone\.layer3\.(\d+)\.conv3\.", name))}
    if len(blocks) not in _DEPTHS:
        raise CheckpointError(
            f"{where} is a model of torchvision on another encoder than {', '.join(_DEPTHS.values())} and MobileNetV3"
        )
    return _DEPTHS[len(blocks)]


def _number_of_classes(weights: Mapping[str, Any], method: str, where: str) -> int:
    weight = weights.get("classifier.low_classifier.weight" if method == "lraspp" else "classifier.4.weight")
    if not isinstance(weight, Tensor) or weight.dim() != 4:
        raise CheckpointError(f"{where} is a model of torchvision without the classifier of FCN, DeepLabv3 or LR-ASPP")
    return len(weight)


def _model(method: str, backbone: str, classes: int, *, auxiliary: bool) -> dict[str, Any]:
    mobile = backbone == _MOBILENET
    model: dict[str, Any] = {
        "segmentor": method,
        "backbone": backbone,
        "output_stride": 16 if mobile else 8,
        "num_classes": classes,
        "options": _OPTIONS[method],
    }
    if method == "lraspp":
        return model
    channels = 10 if mobile else 256  # a quarter of the map's
    return {
        **model,
        "auxiliary": {"weight": _AUXILIARY_WEIGHT, "channels": [channels]} if auxiliary else {"weight": 0.0},
    }
