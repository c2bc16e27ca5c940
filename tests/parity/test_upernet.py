"""UPerNet against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
from parity import heads, renaming
from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry, small_mmseg, small_ssseg

from vitrail import create_model
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


def test_mmseg() -> None:
    theirs = build_mmseg("upernet/upernet_r18_4xb2-40k_cityscapes-512x1024", **small_mmseg())
    ours = create_model("upernet", "resnet18c", CLASSES, channels=64, aux_channels=32, dropout=0.0)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, renaming.RESNET_DEEP_STEM, heads.UPERNET_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"})


@pytest.mark.parametrize("stride", [8, 16])
def test_ssseg(stride: int, configs: Path) -> None:
    theirs = build_ssseg(
        f"upernet/upernet_resnet50os{stride}_ade20k",
        configs,
        **small_ssseg(head__in_channels_list=[64, 128, 256, 512]),
    )
    ours = create_model(
        "upernet", "resnet18c", CLASSES, output_stride=stride, channels=64, aux_channels=32, dropout=0.0
    )
    carry(theirs, ours, renaming.RESNET_DEEP_STEM, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})


def test_full_size(configs: Path) -> None:
    theirs = build_ssseg("upernet/upernet_resnet50os16_ade20k", configs)
    ours = create_model("upernet", "resnet50c", 150, output_stride=16)
    carry(theirs, ours, renaming.RESNET_DEEP_STEM, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
