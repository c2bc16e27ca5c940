"""DeepLabv3 and DeepLabv3+ against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry, small_mmseg, small_ssseg
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity

MMSEG = {
    "deeplabv3": ("deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024", heads.DEEPLABV3_MMSEG),
    "deeplabv3plus": ("deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024", heads.DEEPLABV3PLUS_MMSEG),
}
SSSEG = {"deeplabv3": heads.DEEPLABV3_SSSEG, "deeplabv3plus": heads.DEEPLABV3PLUS_SSSEG}


@pytest.mark.parametrize("name", list(MMSEG))
def test_mmseg(name: str) -> None:
    config, table = MMSEG[name]
    theirs = build_mmseg(config, **small_mmseg())
    options = {"shortcut_channels": 12} if name == "deeplabv3plus" else {}
    ours = create_model(
        name,
        "resnet18c",
        CLASSES,
        output_stride=8,
        channels=64,
        auxiliary=Auxiliary(channels=(32,)),
        dropout=0.0,
        **options,
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, table)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"})


@pytest.mark.parametrize("name", list(SSSEG))
def test_ssseg(name: str, configs: Path) -> None:
    in_channels = {"deeplabv3": 512, "deeplabv3plus": [64, 512]}[name]
    theirs = build_ssseg(f"{name}/{name}_resnet50os16_ade20k", configs, **small_ssseg(head__in_channels=in_channels))
    ours = create_model(
        name, "resnet18c", CLASSES, output_stride=16, channels=64, auxiliary=Auxiliary(channels=(32,)), dropout=0.0
    )
    carry(theirs, ours, encoders.DEEP_STEM, SSSEG[name])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})


@pytest.mark.parametrize("name", list(SSSEG))
def test_full_size(name: str, configs: Path) -> None:
    theirs = build_ssseg(f"{name}/{name}_resnet50os8_ade20k", configs)
    ours = create_model(name, "resnet50c", 150, output_stride=8)
    carry(theirs, ours, encoders.DEEP_STEM, SSSEG[name])
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
