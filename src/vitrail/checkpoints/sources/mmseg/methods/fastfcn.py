"""FastFCN: joint pyramid upsampling between the encoder and the head of another method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitrail.checkpoints.plain import as_lists, as_tuples
from vitrail.checkpoints.sources.mmseg.encoders import SEPARABLE, check_norm
from vitrail.checkpoints.sources.mmseg.heads import METHODS, ModelSection, Translate, Translation
from vitrail.checkpoints.sources.records import MethodRecord, renaming_for
from vitrail.checkpoints.sources.renaming import Renaming, combine
from vitrail.checkpoints.sources.settings import UnsupportedError
from vitrail.recipes import ModelConfig

UPSAMPLING = Renaming(
    {
        "neck.conv_layers.*.0": "backbone.upsampling.projections.*",
        "neck.dilation_layers.*.0": ("backbone.upsampling.dilated.*", SEPARABLE),
    }
)
_READ = (1, 2, 3)  # of the maps of the encoder


def translate_with(plain: str) -> Translate:
    """Return the translation of FastFCN with the head of the method `plain`."""

    def translate(model: ModelSection) -> Translation:
        neck = model.neck("JPU")
        options = {
            "upsampling_channels": neck.take("mid_channels", 512),
            "upsampling_dilations": as_lists(neck.take("dilations", (1, 2, 4, 8))),
        }
        neck.must_be("start_level", 0)
        neck.must_be("end_level", -1)
        neck.must_be("conv_cfg", None)
        neck.must_be("act_cfg", {"type": "ReLU"})
        align_corners = neck.take("align_corners", False)
        check_norm(neck, "BN", "SyncBN")
        neck.pass_over("in_channels")
        neck.finish()
        found = METHODS[plain].translate(_without_neck(model))
        if found.options.get("align_corners", False) != align_corners:
            raise UnsupportedError(f"{model.where} resizes in its neck otherwise than in its head")
        return replace(found, options={**found.options, **options})

    return translate


def renaming_with(plain: str, model: ModelConfig) -> Renaming:
    """Return the renaming of FastFCN with the head of the method `plain`."""
    return combine(UPSAMPLING, renaming_for(METHODS[plain].renaming, model))


def _without_neck(model: ModelSection) -> ModelSection:
    """Return the same model without the neck, whose heads count the maps of the encoder from the finest."""
    backbone = model.values["backbone"]
    if as_tuples(backbone.get("out_indices")) != _READ:
        raise UnsupportedError(f"{model.where} upsamples other maps than the last three")
    values: dict[str, Any] = {**model.values, "neck": None, "backbone": {**backbone, "out_indices": (0, 1, 2, 3)}}
    values["decode_head"] = _counted(model.values["decode_head"])
    if model.auxiliary_heads:
        values["auxiliary_head"] = [_counted(head) for head in model.auxiliary_heads]
    return ModelSection(values, model.where)


def _counted(head: Mapping[str, Any]) -> dict[str, Any]:
    index = head.get("in_index", -1)
    if isinstance(index, int):
        return {**head, "in_index": _READ[index]}
    return {**head, "in_index": [_READ[each] for each in index]}


def _add(name: str, head: str, plain: str) -> None:
    record = MethodRecord(
        f"JPU+{head}", translate_with(plain), lambda model: renaming_with(plain, model), inside="trunk"
    )
    METHODS.add(name, record, module=__name__)


_add("fastfcn_fcn", "FCNHead", "fcn")
_add("fastfcn_pspnet", "PSPHead", "pspnet")
_add("fastfcn_deeplabv3", "ASPPHead", "deeplabv3")
_add("fastfcn_encnet", "EncHead", "encnet")
