"""Checkpoints of SSSegmentation (github.com/SegmentationBLWX/sssegmentation, Apache-2.0).

A file holds `model` and, when training wrote it, the state of that; nothing says how the model is built. What a file is
has to be known from its name, from the shapes in it, or from the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Part, Table, choose
from vitrail.checkpoints.sources.source import Content, Importer
from vitrail.segmentors import ModelCard

ENCODERS: Mapping[str, Table] = {
    r"resnet\d+c|resnest\w+": encoders.DEEP_STEM,
    r"resnet\d+|hrnet_w\w+": encoders.PLAIN,
    r"mobilenetv2_\w+": encoders.MOBILENET_V2,
    r"mobilevit_\w+": encoders.MOBILEVIT_SSSEG,
    r"mobilevitv2_\w+": encoders.MOBILEVIT_V2_SSSEG,
    r"convnext_\w+": encoders.CONVNEXT,
    r"swin_\w+": encoders.SWIN,
    r"mit_b\d": encoders.MIT,
    r"twins_\w+": encoders.TWINS,
    r"vit_\w+": encoders.VIT,
    r"beit_\w+": encoders.BEIT,
    r"mae_\w+": encoders.MAE,
    r"unet_\w+": encoders.UNET_SSSEG,
    r"cgnet_\w+": encoders.CGNET_SSSEG,
    r"fastscnn": encoders.FASTSCNN_SSSEG,
    r"erfnet": encoders.ERFNET,
    r"bisenetv1_\w+": encoders.BISENETV1_SSSEG,
    r"bisenetv2": encoders.BISENETV2_SSSEG,
}
HEADS: Mapping[str, Table] = {
    "cgnet": heads.FCN_SSSEG[0],
    "bisenetv1": heads.FCN_SSSEG[1],
    "bisenetv2": heads.BISENETV2_SSSEG,
    "pspnet": heads.PSPNET_SSSEG,
    "deeplabv3": heads.DEEPLABV3_SSSEG,
    "deeplabv3plus": heads.DEEPLABV3PLUS_SSSEG,
    "upernet": heads.UPERNET_SSSEG,
    "ocrnet": heads.OCRNET_SSSEG,
    "encnet": heads.ENCNET_SSSEG,
    "emanet": heads.EMANET_SSSEG,
    "pointrend": heads.POINTREND_SSSEG,
    "segformer": heads.SEGFORMER_SSSEG,
    "maskformer": heads.MASKFORMER_SSSEG,
    "icnet": heads.ICNET_SSSEG,
    "ce2p": heads.CE2P_SSSEG,
    "mcibi": heads.MCIBI_SSSEG,
    "fastscnn": heads.FASTSCNN_SSSEG,
}


def parts(model: Mapping[str, Any]) -> list[Part]:
    """Return the renaming of a checkpoint whose model is described by a recipe's model section."""
    segmentor = model["segmentor"]
    encoder = heads.ICNET_ENCODER_SSSEG if segmentor == "icnet" else choose(ENCODERS, model["backbone"])
    head = heads.FCN_SSSEG[model["options"]["num_convs"]] if segmentor == "fcn" else HEADS[segmentor]
    return [
        Part(encoder, "backbone_net.", "backbone."),
        Part(encoders.NECK, "feats_to_pyramid_net.", "backbone.neck."),
        Part(head),
    ]


def _weights(content: Content) -> Mapping[str, Any]:
    weights = content.get("model")
    named = weights if isinstance(weights, Mapping) else {}
    return {str(name).removeprefix("module."): tensor for name, tensor in named.items()}


def _recognise(content: Content) -> bool:
    return any(name.startswith("backbone_net.") for name in _weights(content))


def _card(content: Content, source: str) -> ModelCard | None:
    """Return None: a file says nothing about its model."""
    return None


SSSEG = Importer("SSSegmentation", recognise=_recognise, weights=_weights, card=_card, parts=parts)
