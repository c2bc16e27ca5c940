"""SETR with naive or progressive upsampling: convolutions on a plain transformer, each followed by a resize."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitrail.checkpoints.sources.mmseg.heads import METHODS, Head, ModelSection, Translation, one_width, translation
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Names, Renaming
from vitrail.checkpoints.sources.settings import Settings, UnsupportedError

_HEAD: Names = {"up_convs.*.0": "convs.*", "conv_seg": "classifier"}
# The heads have the norms of the maps that they read: one on each map, the main one on the last.
RENAMING = Renaming(
    {
        "decode_head": ("head", _HEAD),
        "decode_head.norm": "backbone.norms.3",
        "auxiliary_head.*": ("auxiliary.*", _HEAD),
        "auxiliary_head.*.norm": "backbone.norms.*",
    }
)


def check_layer_norm(settings: Settings) -> None:
    """Refuse another norm of the transformer's maps than vitrail's."""
    settings.must_be("norm_layer", {"type": "LN", "eps": 1e-6}, {"type": "LN", "eps": 1e-6, "requires_grad": True})


def _convolutions(head: Head) -> dict[str, Any]:
    check_layer_norm(head.settings)
    described = {
        "num_convs": head.settings.take("num_convs", 1),
        "kernel_size": head.settings.take("kernel_size", 3),
        "upsample": head.settings.take("up_scale", 4),
    }
    head.finish()
    return described


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    encoder, head = model.encoder, model.decode_head()
    heads = [Head(values, f"{model.where}.auxiliary_head") for values in model.auxiliary_heads]
    kinds = {values.get("type") for values in model.auxiliary_heads}
    read = [each.in_index for each in (*heads, head)]
    if kinds != {"SETRUPHead"} or read != [0, 1, 2, 3] or encoder.order != (0, 1, 2, 3):
        raise UnsupportedError(
            f"{model.where} has heads on the maps {read}, where vitrail's SETR has an auxiliary SETRUPHead on each of "
            "the first three of four, and its main one on the last"
        )
    encoder = replace(encoder, options={**encoder.options, "norm_outputs": True})
    options = {"channels": head.channels, **_convolutions(head)}
    return translation(head, encoder, options, _auxiliary(heads, model.where))


def _auxiliary(heads: list[Head], where: str) -> dict[str, Any]:
    described = [{**_convolutions(head), "weight": first_weight(head.losses)} for head in heads]
    if any(one != described[0] for one in described):
        raise UnsupportedError(f"{where}: the auxiliary heads of vitrail's SETR are alike")
    width = one_width([head.channels for head in heads], where)
    return {**described[0], "maps": [0, 1, 2], "channels": [width], "upsample_mode": "bilinear"}


METHODS.add(
    "setr",
    # The norms of the maps belong to the heads there.
    MethodRecord("SETRUPHead", translate, RENAMING, optimizer_keys={"head": ("backbone.norms",)}),
    module=__name__,
)
