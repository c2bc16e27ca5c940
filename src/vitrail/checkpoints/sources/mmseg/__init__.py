"""Checkpoints of MMSegmentation (github.com/open-mmlab/mmsegmentation, Apache-2.0), of both its generations.

A file holds `state_dict`, and in `meta` the text of the config that built the model and the names of its classes: all
that is needed, also for models that users trained themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.cards import card_from_recipe
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.mmseg.config import read_config, recipe_from_config
from vitrail.checkpoints.sources.renaming import Part, Table, choose
from vitrail.checkpoints.sources.source import Content, Importer
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard

ENCODERS: Mapping[str, Table] = {
    r"resnet\d+[cd]|resnest\w+": encoders.DEEP_STEM,
    r"resnet\d+|hrnet_w\w+": encoders.PLAIN,
    r"mobilenetv2_\w+": encoders.MOBILENET_V2,
    r"convnext_\w+": encoders.CONVNEXT,
    r"swin_\w+": encoders.SWIN,
    r"mit_b\d": encoders.MIT,
    r"twins_\w+": encoders.TWINS,
    r"vit_\w+": encoders.VIT,
    r"beit_\w+": encoders.BEIT,
    r"mae_\w+": encoders.MAE,
    r"unet_\w+": encoders.UNET_MMSEG,
    r"cgnet_\w+": encoders.CGNET_MMSEG,
    r"fastscnn": encoders.FASTSCNN_MMSEG,
    r"erfnet": encoders.ERFNET,
    r"bisenetv1_\w+": encoders.BISENETV1_MMSEG,
    r"bisenetv2": encoders.BISENETV2_MMSEG,
}
HEADS: Mapping[str, Table] = {
    "fcn": heads.FCN_MMSEG,
    "cgnet": heads.FCN_MMSEG,
    "bisenetv1": heads.FCN_MMSEG,
    "bisenetv2": heads.BISENETV2_MMSEG,
    "pspnet": heads.PSPNET_MMSEG,
    "deeplabv3": heads.DEEPLABV3_MMSEG,
    "deeplabv3plus": heads.DEEPLABV3PLUS_MMSEG,
    "upernet": heads.UPERNET_MMSEG,
    "ocrnet": heads.OCRNET_MMSEG,
    "encnet": heads.ENCNET_MMSEG,
    "emanet": heads.EMANET_MMSEG,
    "pointrend": heads.POINTREND_MMSEG,
    "segformer": heads.SEGFORMER_MMSEG,
    "maskformer": heads.MASKFORMER_MMSEG,
    "icnet": heads.ICNET_MMSEG,
    "fastscnn": heads.FASTSCNN_MMSEG,
}
_NECKS = ("pyramid", "neck_channels")


def parts(model: Mapping[str, Any]) -> list[Part]:
    """Return the renaming of a checkpoint whose model is described by a recipe's model section."""
    options = model.get("backbone_options") or {}
    encoder = choose(ENCODERS, model["backbone"])
    if model["segmentor"] == "icnet":
        encoder = heads.ICNET_ENCODER_MMSEG
    neck = [Part(encoders.NECK, "neck.", "backbone.neck.")] if any(options.get(key) for key in _NECKS) else []
    return [Part(encoder, "backbone.", "backbone."), *neck, Part(HEADS[model["segmentor"]])]


def _weights(content: Content) -> Mapping[str, Any]:
    weights = content.get("state_dict")
    named = weights if isinstance(weights, Mapping) else {}
    return {str(name).removeprefix("module."): tensor for name, tensor in named.items()}


def _recognise(content: Content) -> bool:
    return any(name.startswith("decode_head.") for name in _weights(content))


def _card(content: Content, source: str) -> ModelCard | None:
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    text = meta.get("cfg") or meta.get("config")
    if not isinstance(text, str):
        return None
    recipe = recipe_from_config(
        read_config(text, source), str(meta.get("exp_name") or meta.get("experiment_name") or ""), source
    )
    described = meta.get("dataset_meta")
    named = described if isinstance(described, Mapping) else meta
    classes = named.get("classes") or named.get("CLASSES")
    palette = named.get("palette") or named.get("PALETTE")
    if classes is not None and len(classes) != recipe["model"]["num_classes"]:
        raise CheckpointError(
            f"{source} names {len(classes)} classes, but its model has {recipe['model']['num_classes']}"
        )
    return card_from_recipe(recipe, source="MMSegmentation", license="Apache-2.0", classes=classes, palette=palette)


MMSEG = Importer("MMSegmentation", recognise=_recognise, weights=_weights, card=_card, parts=parts)
