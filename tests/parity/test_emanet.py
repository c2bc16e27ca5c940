"""EMANet against MMSegmentation and SSSegmentation: logits, losses, gradients, and the bases after a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import (
    CLASSES,
    assert_close,
    assert_same_logits,
    assert_same_training,
    carry,
    small_mmseg,
    small_ssseg,
)
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


SMALL = {
    "attention_channels": 64,
    "channels": 64,
    "auxiliary": Auxiliary(channels=(32,)),
    "num_bases": 16,
    "dropout": 0.0,
}


def test_mmseg() -> None:
    theirs = build_mmseg(
        "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
        **small_mmseg(
            backbone__depth=18,
            decode_head__in_channels=512,
            auxiliary_head__in_channels=256,
            decode_head__ema_channels=64,
            decode_head__num_bases=16,
        ),
    )
    ours = create_model("emanet", "resnet18c", CLASSES, output_stride=8, **SMALL)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, heads.EMANET_MMSEG)
    assert_same_logits(theirs, ours)
    before = ours.head.attention.bases.double()
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"})
    bases = theirs.decode_head.ema_module.bases[0]
    assert_close(ours.head.attention.bases - before, bases - before, "the move of the bases")


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg("emanet/emanet_resnet50os16_ade20k", configs, **small_ssseg(head__num_bases=16))
    ours = create_model("emanet", "resnet18c", CLASSES, output_stride=16, **SMALL)
    carry(theirs, ours, encoders.DEEP_STEM, heads.EMANET_SSSEG)
    assert_same_logits(theirs, ours)
    before = ours.head.attention.bases.double()
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})
    assert_close(ours.head.attention.bases - before, theirs.ema_module.bases[0] - before, "the move of the bases")


def test_full_size(configs: Path) -> None:
    theirs = build_ssseg("emanet/emanet_resnet50os8_ade20k", configs)
    ours = create_model("emanet", "resnet50c", 150, output_stride=8)
    carry(theirs, ours, encoders.DEEP_STEM, heads.EMANET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
