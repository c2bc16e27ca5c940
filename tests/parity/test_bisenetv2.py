"""BiSeNetV2 against MMSegmentation and SSSegmentation, at full size: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


def test_mmseg() -> None:
    classes = {f"{head}__num_classes": CLASSES for head in ("decode_head", *(f"auxiliary_head__{i}" for i in range(4)))}
    theirs = build_mmseg("bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024", **classes)
    ours = create_model("bisenetv2", None, CLASSES, dropout=0.0)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.BISENETV2_MMSEG, heads.BISENETV2_MMSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "decode.loss_ce", **{f"aux{i}_seg": f"aux_{i}.loss_ce" for i in range(4)}}
    assert_same_training(theirs, ours, terms)


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg("bisenetv2/fcn_bisenetv2_cityscapes", configs, num_classes=CLASSES)
    ours = create_model("bisenetv2", None, CLASSES, dropout=0.0, backbone_options={"pointwise_bias": False})
    carry(theirs, ours, encoders.BISENETV2_SSSEG, heads.BISENETV2_SSSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "loss_cls", **{f"aux{i}_seg": f"loss_aux{i + 1}" for i in range(4)}}
    assert_same_training(theirs, ours, terms)
