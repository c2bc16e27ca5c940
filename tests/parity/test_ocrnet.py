"""OCRNet against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry, small_ssseg
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


def test_mmseg() -> None:
    theirs = build_mmseg(
        "ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
        backbone__depth=18,
        decode_head__0__in_channels=256,
        decode_head__0__channels=32,
        decode_head__0__num_classes=CLASSES,
        decode_head__1__in_channels=512,
        decode_head__1__channels=64,
        decode_head__1__ocr_channels=24,
        decode_head__1__num_classes=CLASSES,
    )
    ours = create_model(
        "ocrnet",
        "resnet18c",
        CLASSES,
        output_stride=8,
        channels=64,
        attention_channels=24,
        coarse_channels=32,
        fuse_kernel_size=1,
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, heads.OCRNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode_1.loss_ce", "coarse": "decode_0.loss_ce"})


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg("ocrnet/ocrnet_resnet50os8_ade20k", configs, **small_ssseg(head__transform_channels=24))
    ours = create_model(
        "ocrnet", "resnet18c", CLASSES, output_stride=8, channels=64, attention_channels=24, coarse_channels=32
    )
    carry(theirs, ours, encoders.DEEP_STEM, heads.OCRNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "coarse": "loss_aux"})


def test_full_size(configs: Path) -> None:
    theirs = build_ssseg("ocrnet/ocrnet_resnet50os8_ade20k", configs)
    ours = create_model("ocrnet", "resnet50c", 150, output_stride=8)
    carry(theirs, ours, encoders.DEEP_STEM, heads.OCRNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
