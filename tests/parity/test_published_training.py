"""Methods on the encoders that they are published with: logits, every term of the loss, gradients.

`test_published.py` sends published architectures through the door that users take; here they are trained too, with
narrow heads. ResNets, and methods that have one encoder only, are compared in the methods' own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from parity.published import mmseg_key, reference_logits, ssseg_key
from parity.references import build_mmseg, build_ssseg
from parity.same_function import (
    CLASSES,
    SQUARE_WIDE_ODD,
    assert_close,
    assert_same_logits,
    assert_same_training,
    randomise,
)
from vitrail.checkpoints.index import index
from vitrail.checkpoints.sources.mmseg import MMSEG
from vitrail.checkpoints.sources.renaming import rename_parts
from vitrail.checkpoints.sources.ssseg import SSSEG
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import Segmentor, build_model

pytestmark = pytest.mark.parity

TERMS_MMSEG: dict[str, str | tuple[str, ...]] = {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"}
TERMS_SSSEG = {"seg": "loss_cls", "aux0_seg": "loss_aux"}


@dataclass(frozen=True)
class Case:
    """A published model made narrow.

    Attributes
    ----------
    name : str
        In the index.
    theirs : mapping
        Changes to its configuration, by keys with "__" for the dots.
    ours : mapping
        The same changes to our options.
    encoder : mapping
        The same changes to our encoder's options.
    terms : mapping
        The reference's name of each of our terms, or the names of those that it is the sum of.
    sizes : sequence of (int, int)
        Images that the reference can do.
    trained : (int, int)
        Of which size it is trained.
    """

    name: str
    theirs: Mapping[str, Any]
    ours: Mapping[str, Any]
    auxiliary: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = SQUARE_WIDE_ODD
    trained: tuple[int, int] = (97, 129)

    def __str__(self) -> str:
        return self.name.partition("_4xb")[0].partition("_8xb")[0]

    def build(self, configs: Path) -> tuple[nn.Module, Segmentor]:
        """Build both with the same random weights, without dropout."""
        entry = index()[self.name]
        project, _, name = self.name.partition("/")
        if project == "ssseg":
            theirs = build_ssseg(ssseg_key(name, configs), configs, **self.theirs)
        else:
            theirs = build_mmseg(mmseg_key(name), **self.theirs)
        randomise(theirs)
        section = entry.recipe["model"]
        encoder = {**section.get("backbone_options", {}), **self.encoder}
        if "drop_path_rate" in encoder:
            encoder["drop_path_rate"] = 0.0
        options = {**section["options"], "dropout": 0.0, **self.ours}
        auxiliary = {**section.get("auxiliary", {}), **self.auxiliary}
        changed = {"num_classes": CLASSES, "backbone_options": encoder, "options": options, "auxiliary": auxiliary}
        section = {**section, **changed}
        ours = build_model(model_config_from_dict(section), CLASSES)
        importer = SSSEG if project == "ssseg" else MMSEG
        ours.load_state_dict(rename_parts(theirs.state_dict(), importer.parts(section), self.name), strict=True)
        return theirs, ours


NARROW = {"channels": [32]}  # the auxiliary heads


NARROW = {"channels": [32]}  # the auxiliary heads


def mmseg(name: str, **settings: Any) -> Case:
    changes = {"decode_head__channels": 64, "decode_head__num_classes": CLASSES}
    changes |= {"auxiliary_head__channels": 32, "auxiliary_head__num_classes": CLASSES}
    changes |= settings.pop("theirs", {})
    terms = TERMS_MMSEG | settings.pop("terms", {})
    return Case(f"mmseg/{name}", changes, {"channels": 64}, NARROW, terms=terms, **settings)


def ssseg(name: str, **settings: Any) -> Case:
    changes = {"num_classes": CLASSES, "head__feats_channels": 64, "auxiliary__out_channels": 32}
    changes |= settings.pop("theirs", {})
    return Case(f"ssseg/{name}", changes, {"channels": 64}, NARROW, terms=TERMS_SSSEG, **settings)


# Full U-Nets take long, and theirs takes no image that it would have to pad.
UNET = {"encoder": {"base_channels": 16}, "sizes": ((128, 128), (128, 192)), "trained": (96, 128)}
UNET_MMSEG = {
    "theirs": {
        "backbone__base_channels": 16,
        "decode_head__in_channels": 16,
        "auxiliary_head__in_channels": 32,
    },
    **UNET,
}
UNET_SSSEG = {
    "theirs": {"backbone__base_channels": 16, "head__in_channels": 16, "auxiliary__in_channels": 32},
    **UNET,
}
# The position tables of theirs fix the number of patches.
FIXED = {
    "theirs": {"backbone__img_size": (96, 128)},
    "encoder": {"img_size": [96, 128]},
    "sizes": ((96, 128),),
    "trained": (96, 128),
}
OCRNET_MMSEG = {
    "decode_head__0__channels": 270,
    "decode_head__0__num_classes": CLASSES,
    "decode_head__1__channels": 64,
    "decode_head__1__ocr_channels": 24,
    "decode_head__1__num_classes": CLASSES,
}

CASES = [
    mmseg("swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512"),
    mmseg("convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512"),
    mmseg("twins_svt-s_uperhead_8xb2-160k_ade20k-512x512"),
    mmseg("twins_pcpvt-s_uperhead_8xb4-160k_ade20k-512x512"),
    mmseg("vit_deit-s16_upernet_8xb2-80k_ade20k-512x512"),
    mmseg("vit_deit-s16-ln_mln_upernet_8xb2-160k_ade20k-512x512"),
    mmseg("beit-base_upernet_8xb2-160k_ade20k-640x640", **FIXED),
    mmseg("mae-base_upernet_8xb2-amp-160k_ade20k-512x512", **FIXED),
    mmseg("mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024"),
    mmseg("mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024"),
    mmseg("resnest_s101-d8_deeplabv3_4xb2-80k_cityscapes-512x1024"),
    mmseg("resnest_s101-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024"),
    mmseg("unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64", **UNET_MMSEG),
    mmseg(
        "unet-s5-d16_deeplabv3_4xb4-ce-1.0-dice-3.0-40k_drive-64x64",
        terms={"seg": ("decode.loss_ce", "decode.loss_dice")},
        **UNET_MMSEG,
    ),
    Case(
        "mmseg/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024",
        OCRNET_MMSEG,
        {"channels": 64, "attention_channels": 24},
        terms={"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"},
    ),
    ssseg("upernet_swintiny_ade20k"),
    ssseg("upernet_convnexttiny_ade20k"),
    ssseg("upernet_svtsmall_ade20k"),
    ssseg("upernet_pcpvtsmall_ade20k"),
    ssseg("upernet_beitbase_ade20k", **FIXED),
    ssseg("upernet_maevitbase_ade20k", **FIXED),
    ssseg("deeplabv3_mobilenetv2os8_ade20k"),
    ssseg("deeplabv3_resnest101os8_ade20k"),
    ssseg("deeplabv3_unets5os16_drive", **UNET_SSSEG),
    ssseg("deeplabv3_unets5os16_cedice_drive", **UNET_SSSEG),
    ssseg("deeplabv3_mobilevits_voc-cocosubvoc"),
    ssseg("deeplabv3_mobilevitv2050_voc-cocosubvoc"),
    ssseg("deeplabv3plus_mobilenetv2os8_ade20k"),
    ssseg("deeplabv3plus_resnest101os8_ade20k"),
    Case(
        "ssseg/ocrnet_hrnetv2w18s_ade20k",
        {
            "num_classes": CLASSES,
            "head__feats_channels": 64,
            "head__transform_channels": 24,
            "auxiliary__out_channels": 32,
        },
        {"channels": 64, "attention_channels": 24, "coarse_channels": 32},
        terms={"seg": "loss_cls", "coarse": "loss_aux"},
    ),
]

_QUERIES = {"class": "loss_cls", "mask": "loss_mask", "dice": "loss_dice"}
MASKFORMER = {
    "decode_head__num_classes": CLASSES,
    "decode_head__loss_cls__class_weight": [1.0] * CLASSES + [0.1],
    "decode_head__transformer_decoder__num_layers": 3,
}
MASKFORMER_TERMS = {ours: f"decode.{theirs}" for ours, theirs in _QUERIES.items()} | {
    f"layer{i}_{ours}": f"decode.d{i}.{theirs}" for i in range(2) for ours, theirs in _QUERIES.items()
}
MASKFORMERS = [
    Case(
        "mmseg/maskformer_swin-t_upernet_8xb2-160k_ade20k-512x512",
        MASKFORMER,
        {"num_layers": 3},
        terms=MASKFORMER_TERMS,
    ),
    Case(
        "mmseg/maskformer_r50-d32_8xb2-160k_ade20k-512x512",
        {**MASKFORMER, "backbone__norm_eval": False},  # it is trained with the statistics of ImageNet
        {"num_layers": 3},
        terms=MASKFORMER_TERMS,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_function(case: Case, configs: Path) -> None:
    theirs, ours = case.build(configs)
    assert_same_logits(theirs, ours, case.sizes)
    assert_same_training(theirs, ours, case.terms, size=case.trained)


@pytest.mark.parametrize("case", MASKFORMERS, ids=str)
def test_maskformer_mmseg(case: Case, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = case.build(configs)
    theirs.eval()
    ours.eval()
    for size in case.sizes:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            expected = reference_logits(theirs, index()[case.name], images)
            assert_close(ours(images), expected, f"scores at {size}")
    # Its costs multiply what is predicted, float64 here, with masks that are always float32.
    einsum = torch.einsum
    monkeypatch.setattr(torch, "einsum", lambda equation, *terms: einsum(equation, *(t.to(terms[0]) for t in terms)))
    assert_same_training(theirs, ours, case.terms)
