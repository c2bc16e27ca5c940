"""Methods on the other encoders they are published with, against MMSegmentation and SSSegmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parity import heads, renaming
from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry
from torch import nn

from vitrail import create_model
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


def test_ocrnet_on_hrnet_mmseg() -> None:
    narrow: dict[str, Any] = {"decode_head__1__channels": 64, "decode_head__1__ocr_channels": 24}
    classes = {f"decode_head__{i}__num_classes": CLASSES for i in (0, 1)}
    theirs = build_mmseg("ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024", **narrow, **classes)
    ours = create_model(
        "ocrnet",
        "hrnet_w18_small_v2",
        CLASSES,
        channels=64,
        attention_channels=24,
        fuse_kernel_size=1,
        coarse_channels=270,
        coarse_kernel_size=1,
        backbone_options={"concat": True},
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, renaming.HRNET, heads.OCRNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"})


def test_ocrnet_on_hrnet_ssseg(configs: Path) -> None:
    narrow: dict[str, Any] = {"head__feats_channels": 64, "head__transform_channels": 24, "auxiliary__out_channels": 32}
    theirs = build_ssseg("ocrnet/ocrnet_hrnetv2w18s_ade20k", configs, num_classes=CLASSES, **narrow)
    ours = create_model(
        "ocrnet",
        "hrnet_w18_small_v2",
        CLASSES,
        channels=64,
        attention_channels=24,
        coarse_channels=32,
        backbone_options={"concat": True},
    )
    carry(theirs, ours, renaming.HRNET, heads.OCRNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "coarse": "loss_aux"})


UPERNET_NARROW: dict[str, Any] = {
    "num_classes": CLASSES,
    "head__feats_channels": 64,
    "auxiliary__out_channels": 32,
    "backbone__structure_type": "any",
    "backbone__drop_path_rate": 0.0,
}


def upernet(backbone: str) -> nn.Module:
    return create_model(
        "upernet",
        backbone,
        CLASSES,
        channels=64,
        aux_channels=32,
        dropout=0.0,
        backbone_options={"drop_path_rate": 0.0},
    )


def test_upernet_on_swin_ssseg(configs: Path) -> None:
    theirs = build_ssseg("swin/upernet_swinsmall_ade20k", configs, **UPERNET_NARROW)
    ours = upernet("swin_small_patch4_window7_224")
    carry(theirs, ours, renaming.SWIN_MMSEG, heads.UPERNET_SSSEG, renaming.SWIN_VALUES)
    assert_same_logits(theirs, ours, sizes=[(128, 128), (129, 161)])
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})


def test_upernet_on_convnext_ssseg(configs: Path) -> None:
    theirs = build_ssseg("convnext/upernet_convnexttiny_ade20k", configs, **UPERNET_NARROW)
    ours = upernet("convnext_tiny")
    carry(theirs, ours, renaming.CONVNEXT, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(128, 128), (129, 161)])
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})
