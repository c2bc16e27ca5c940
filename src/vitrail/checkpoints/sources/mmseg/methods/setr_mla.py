"""SETR with multi-level aggregation: the maps of a plain transformer are added up from the deepest one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitrail.checkpoints.plain import as_lists
from vitrail.checkpoints.sources.layouts import UnnumberedWhenAlone
from vitrail.checkpoints.sources.mmseg.encoders import check_norm
from vitrail.checkpoints.sources.mmseg.heads import AUXILIARY, METHODS, Head, ModelSection, Translation, translation
from vitrail.checkpoints.sources.mmseg.losses import first_weight
from vitrail.checkpoints.sources.mmseg.methods.setr import check_layer_norm
from vitrail.checkpoints.sources.records import MethodRecord
from vitrail.checkpoints.sources.renaming import Renaming
from vitrail.checkpoints.sources.settings import UnsupportedError

RENAMING = Renaming(
    {
        "neck.norm": "backbone.trunk.norms",
        "neck.mla.channel_proj": "backbone.projections",
        "neck.mla.feat_extract": "backbone.convs",
        "decode_head": ("head", {"up_convs": "convs", "conv_seg": "classifier"}),
        **AUXILIARY,
    },
    before=(UnnumberedWhenAlone("auxiliary_head"),),
)


def translate(model: ModelSection) -> Translation:
    """Return what a config's `model` section describes."""
    neck, encoder, head = model.neck("MLANeck"), model.encoder_below_neck, model.decode_head()
    check_layer_norm(neck)
    check_norm(neck, "BN", "SyncBN")
    neck.must_be("act_cfg", {"type": "ReLU"})
    channels = head.settings.take("mla_channels", 128)
    options = {
        "aggregation_channels": neck.take("out_channels"),
        "channels": channels,
        "upsample": head.settings.take("up_scale", 4),
    }
    neck.pass_over("in_channels")
    neck.finish()
    head.finish()
    if as_lists(head.in_index) != list(range(len(encoder.order))):
        raise UnsupportedError(f"{head.where} does not read all maps in their order")
    encoder = replace(encoder, options={**encoder.options, "norm_outputs": True})
    return translation(head, encoder, options, _auxiliary(model))


def _auxiliary(model: ModelSection) -> dict[str, Any]:
    """Return the description of FCNs on the maps of the neck."""
    if not model.auxiliary_heads:
        return {"weight": 0.0}
    where = f"{model.where}.auxiliary_head"
    heads = [Head(values, where) for values in model.auxiliary_heads]
    described = [{**head.convolutions(), "weight": first_weight(head.losses)} for head in heads]
    for head in heads:
        head.finish()
    kinds = {values.get("type") for values in model.auxiliary_heads}
    if kinds != {"FCNHead"} or any(one != described[0] for one in described):
        raise UnsupportedError(f"{where}: the auxiliary heads of vitrail's SETR-MLA are FCNs that are alike")
    return {
        **described[0],
        "maps": [head.in_index for head in heads],
        "channels": [head.channels for head in heads],
        "upsample": 1,
        "upsample_mode": "nearest",
    }


METHODS.add("setr_mla", MethodRecord("MLANeck+SETRMLAHead", translate, RENAMING, inside="trunk"), module=__name__)
