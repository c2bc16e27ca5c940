"""EncNet against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry, small_mmseg, small_ssseg
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("lateral", [False, True])
def test_mmseg(lateral: bool) -> None:
    theirs = build_mmseg(
        "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024",
        **small_mmseg(
            backbone__depth=18,
            decode_head__in_channels=[128, 256, 512],
            auxiliary_head__in_channels=256,
            decode_head__add_lateral=lateral,
        ),
    )
    ours = create_model(
        "encnet",
        "resnet18c",
        CLASSES,
        output_stride=8,
        channels=64,
        auxiliary=Auxiliary(channels=(32,)),
        dropout=0.0,
        lateral=lateral,
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, heads.ENCNET_MMSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "decode.loss_ce", "presence": "decode.loss_se", "aux0_seg": "aux.loss_ce"}
    assert_same_training(theirs, ours, terms)


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg(
        "encnet/encnet_resnet50os16_ade20k", configs, **small_ssseg(head__in_channels_list=[128, 256, 512])
    )
    ours = create_model(
        "encnet", "resnet18c", CLASSES, output_stride=16, channels=64, auxiliary=Auxiliary(channels=(32,)), dropout=0.0
    )
    carry(theirs, ours, encoders.DEEP_STEM, heads.ENCNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "presence": "loss_se", "aux0_seg": "loss_aux"})


def test_full_size(configs: Path) -> None:
    theirs = build_ssseg("encnet/encnet_resnet50os8_ade20k", configs)
    ours = create_model("encnet", "resnet50c", 150, output_stride=8)
    carry(theirs, ours, encoders.DEEP_STEM, heads.ENCNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
