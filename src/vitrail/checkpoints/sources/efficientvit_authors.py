"""Checkpoints of EfficientViT's authors for segmentation (github.com/mit-han-lab/efficientvit, Apache-2.0).

Published at https://huggingface.co/han-cai/efficientvit-seg: B0 to B3, L1 and L2, for Cityscapes and for ADE20K.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.sources.renaming import Renaming, State
from vitrail.checkpoints.sources.source import register_source
from vitrail.errors import CheckpointError, nearest
from vitrail.segmentors import ModelCard

TITLE = "EfficientViT's authors"
EFFICIENTVIT = "efficientvit/"
_WIDTHS = {"b0": 32, "b1": 64, "b2": 96, "b3": 128, "l1": 256, "l2": 256}  # of the heads for Cityscapes
MODELS = {
    f"efficientvit_seg_{size}_{dataset}": (size, dataset)
    for dataset in ("cityscapes", "ade20k")
    for size in _WIDTHS
    if (size, dataset) != ("b0", "ade20k")
}
_PAGE = "https://huggingface.co/han-cai/efficientvit-seg"
_PROJECTION = "head.input_ops.2.conv.weight"
_WIDEN = "head.output_ops.0.op_list.0.norm.weight"
_LARGEST = 8192  # of images that a model file may ask for
_DATASETS = {19: "cityscapes", 150: "ade20k"}
# By the channels of the stem, whether its block is a pair of full convolutions, and the depth of the last stage.
_ENCODERS = {
    (8, False, 3): "efficientvit_b0",
    (16, False, 5): "efficientvit_b1",
    (24, False, 7): "efficientvit_b2",
    (32, False, 10): "efficientvit_b3",
    (32, True, 7): "efficientvit_l1",
    (32, True, 9): "efficientvit_l2",
}


class _Layout(NamedTuple):
    """What the shapes of the tensors say."""

    encoder: str
    num_classes: int
    options: dict[str, Any]


@register_source("efficientvit_authors")
class EfficientViTAuthors:
    """Weights that EfficientViT's authors published for segmentation."""

    title = TITLE

    def recognise(self, checkpoint: Checkpoint) -> bool:
        """Return whether the tensors have the authors' names."""
        return {_PROJECTION, "head.output_ops.0.op_list.0.conv.weight"} <= checkpoint.tensors.keys()

    def translate(self, checkpoint: Checkpoint, card: ModelCard | None) -> tuple[ModelCard, State]:
        """Return the card and the weights; see `Source`."""
        where = str(checkpoint.origin)
        if card is not None:
            raise CheckpointError(f"{where} says how its model is built: leave out like=… (--like on the command line)")
        layout = _layout(checkpoint.tensors, where)
        if layout.num_classes not in _DATASETS:
            known = " and ".join(f"{name}'s {count}" for count, name in _DATASETS.items())
            raise CheckpointError(
                f"{where} is a checkpoint of {TITLE} for {layout.num_classes} classes; those for {known} can be read, "
                "since nothing in such a file says which classes they are"
            )
        card = card_from_recipe(_recipe(layout), source=_PAGE, license="Apache-2.0")
        return card, renaming(layout.encoder, layout.options).to_ours(checkpoint.tensors, where)


def efficientvit_url(name: str) -> str:
    """Return the address of a published model.

    Parameters
    ----------
    name : str
        "efficientvit/efficientvit_seg_b0_cityscapes", and so on.

    Raises
    ------
    CheckpointError
        For another name; the nearest one is suggested.
    """
    names = [EFFICIENTVIT + each for each in MODELS]
    if name not in names:
        raise CheckpointError(
            f"there is no published model {name!r}.{nearest(name, names)} There are {', '.join(names)}"
        )
    return f"{_PAGE}/resolve/main/{name.removeprefix(EFFICIENTVIT)}.pt"


def published_recipe(name: str) -> dict[str, Any]:
    """Return the recipe of a published model, as its file would say it.

    Parameters
    ----------
    name : str
        A name of `MODELS`.
    """
    size, dataset = MODELS[name]
    city = dataset == "cityscapes"
    blocks = {"b0": 1, "l2": 5 if city else 3}.get(size, 3)
    if size.startswith("b"):
        options = _options(_WIDTHS[size], blocks, 4.0, 4 if city else None, large=False)
    elif city:
        options = _options(_WIDTHS[size], blocks, 1.0, None, large=True)
    else:
        options = _options(128, blocks, 4.0, 8, large=True)
    classes = next(count for count, each in _DATASETS.items() if each == dataset)
    return _recipe(_Layout(f"efficientvit_{size}", classes, options))


def renaming(encoder: str, options: Mapping[str, Any]) -> Renaming:
    """Return the renaming of a model.

    Parameters
    ----------
    encoder : str
        Its encoder.
    options : mapping
        Options of the method.
    """
    large = "_l" in encoder
    stem = "backbone.stages.0" if large else "backbone.input_stem"
    names: dict[str, Any] = {
        f"{stem}.op_list.0": "backbone.encoder.stem.in_conv",
        f"{stem}.op_list.1": "backbone.encoder.stem.res0",
        "head.middle.op_list.*": "head.blocks.*",
        "head.input_ops.0.op_list.0": "head.projections.2",
        "head.input_ops.1.op_list.0": "head.projections.1",
        "head.input_ops.2": "head.projections.0",
    }
    for stage in range(4):
        names[f"backbone.stages.{stage + large}.op_list.*"] = f"backbone.encoder.stages.{stage}.blocks.*"
    widened = options["classifier_ratio"] is not None
    if widened:
        names["head.output_ops.0.op_list.0"] = "head.widen"
    names[f"head.output_ops.0.op_list.{int(widened)}.conv"] = "head.classifier"
    return Renaming(names)


def _layout(weights: Mapping[str, Any], where: str) -> _Layout:
    """Return what the shapes of the tensors say.

    Raises
    ------
    CheckpointError
        For another architecture than the published ones.
    """
    large = "backbone.stages.0.op_list.1.main.conv1.conv.weight" in weights
    stem = "backbone.stages.0" if large else "backbone.input_stem"
    found = _width(weights, f"{stem}.op_list.0.conv.weight"), large, _count(weights, rf"backbone\.stages\.{3 + large}")
    if found not in _ENCODERS:
        raise CheckpointError(
            f"{where} is a checkpoint of {TITLE} of another encoder than {', '.join(_ENCODERS.values())}"
        )
    channels = _width(weights, _PROJECTION)
    fused = "head.middle.op_list.0.main.spatial_conv.conv.weight" in weights
    inside = _width(weights, f"head.middle.op_list.0.main.{'spatial' if fused else 'inverted'}_conv.conv.weight")
    widened = _WIDEN in weights
    ratio = _width(weights, _WIDEN) // max(channels, 1) if widened else None
    options = _options(channels, _count(weights, r"head\.middle"), inside / max(channels, 1), ratio, large=fused)
    return _Layout(_ENCODERS[found], _width(weights, f"head.output_ops.0.op_list.{int(widened)}.conv.weight"), options)


def _options(channels: int, blocks: int, expand: float, ratio: int | None, *, large: bool) -> dict[str, Any]:
    """Return the options of the method; the large encoders' heads differ in blocks, activations and norms."""
    return {
        "channels": channels,
        "num_blocks": blocks,
        "expand_ratio": expand,
        "fused": large,
        "classifier_ratio": ratio,
        "gelu": large,
        "norm_eps": 1e-7 if large else 1e-5,
    }


def _count(weights: Mapping[str, Any], place: str) -> int:
    """Return how many modules the list at a place has."""
    return len({found[1] for name in weights if (found := re.match(rf"{place}\.op_list\.(\d+)\.", name))})


def _width(weights: Mapping[str, Any], name: str) -> int:
    """Return the size of a tensor's first dimension; 0 where there is no such tensor."""
    value = weights.get(name)
    return len(value) if isinstance(value, Tensor) and value.ndim else 0


def _recipe(layout: _Layout) -> dict[str, Any]:
    dataset = _DATASETS[layout.num_classes]
    data: dict[str, Any] = {
        "dataset": dataset,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }
    if dataset == "ade20k":
        data["eval_resize"] = {"size": [512, _LARGEST], "multiple_of": 32}
    return {
        "name": f"{layout.encoder}_{dataset}",
        "model": {
            "segmentor": "efficientvit",
            "backbone": layout.encoder,
            "num_classes": layout.num_classes,
            "options": layout.options,
        },
        "data": data,
        "train": {"iterations": "auto"},
        "evaluation": {"mode": "whole", "average": "logits"},
    }
