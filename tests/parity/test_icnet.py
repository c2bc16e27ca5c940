"""ICNet against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import assert_same_logits, assert_same_training, carry
from vitrail import create_model
from vitrail.checkpoints.sources import heads
from vitrail.errors import ModelError
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity

CLASSES = 9
SMALL = {"channels": 16, "pool_channels": 32, "dropout": 0.0}


def test_mmseg() -> None:
    names = ("decode_head", "auxiliary_head__0", "auxiliary_head__1")
    widths = {f"{name}__{key}": 16 for name in names for key in ("in_channels", "channels")}
    theirs = build_mmseg(
        "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832",
        **{f"{name}__num_classes": CLASSES for name in names},
        **widths,
        backbone__psp_out_channels=32,
        neck__out_channels=16,
    )
    ours = create_model("icnet", "resnet18c", CLASSES, output_stride=8, **SMALL)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, heads.ICNET_ENCODER_MMSEG, heads.ICNET_MMSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "decode.loss_ce", "quarter": "aux_0.loss_ce", "half": "aux_1.loss_ce"}
    assert_same_training(theirs, ours, terms, CLASSES)


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg(
        "icnet/icnet_resnet50os8_cityscapes",
        configs,
        num_classes=CLASSES,
        backbone__depth=18,
        head__encoder={"layer_channels_list": (128, 512), "psp_out_channels": 32},
        head__feats_channels=16,
        auxiliary__0__in_channels=16,
        auxiliary__0__out_channels=16,
        auxiliary__1__in_channels=16,
        auxiliary__1__out_channels=16,
    )
    ours = create_model("icnet", "resnet18c", CLASSES, output_stride=8, **SMALL)
    carry(theirs, ours, heads.ICNET_ENCODER_SSSEG, heads.ICNET_SSSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "loss_cls", "quarter": "loss_aux1", "half": "loss_aux2"}
    assert_same_training(theirs, ours, terms, CLASSES)


def test_full_size_ssseg(configs: Path) -> None:
    theirs = build_ssseg("icnet/icnet_resnet50os8_cityscapes", configs)
    ours = create_model("icnet", None, 19)
    carry(theirs, ours, heads.ICNET_ENCODER_SSSEG, heads.ICNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])


def test_a_backbone_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a ResNet"):
        create_model("icnet", "test_convnext", CLASSES)
