"""MCIBI against SSSegmentation: logits, losses, gradients, and the memory after a step."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.narrow import narrowed

from parity.references import build_ssseg
from parity.same_function import assert_close, assert_same_logits, assert_same_training, carry
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Table
from vitrail.segmentors import Progress
from vitrail.segmentors.auxiliary import NO_AUXILIARY

pytestmark = pytest.mark.parity

CLASSES = 9
UNSEEN = 3  # a class of the targets that the memory does not hold yet
LR_FACTOR = 0.5


RESNET18: dict[str, Any] = {
    "backbone__depth": 18,
    "head__in_channels": 512,
    "auxiliary": {"in_channels": 256, "out_channels": 16, "dropout": 0.0},
}
RESNEST50: dict[str, Any] = {
    "backbone__depth": 50,
    "backbone__stem_channels": 64,
    "backbone__structure_type": "resnest50",
    "auxiliary": {"in_channels": 1024, "out_channels": 16, "dropout": 0.0},
}
HRNET_W18: dict[str, Any] = {
    "backbone__arch": "hrnetv2_w18_small",
    "head__in_channels": 18 + 36 + 72 + 144,
    "head__downsample_backbone__stride": 2,  # as for Cityscapes
}
VIT: dict[str, Any] = {
    "backbone__num_layers": 4,
    "backbone__out_indices": (0, 1, 2, 3),
    "backbone__embed_dims": 64,
    "backbone__num_heads": 4,
    "backbone__img_size": (64, 64),
    "head__in_channels": 64,
    "head__norm_cfg__in_channels_list": [64] * 4,
    "auxiliary": [
        {"in_channels": 64, "out_channels": 16, "dropout": 0.0, "num_convs": 2, "upsample": {"scale_factor": 4}}
    ]
    * 3,
}


@pytest.mark.parametrize(
    ("name", "changes", "backbone", "options", "table"),
    [
        ("resnet50os8", RESNET18, "resnet18c", {"output_stride": 8}, encoders.DEEP_STEM),
        ("resnest101os8", RESNEST50, "resnest50d", {"output_stride": 8}, encoders.DEEP_STEM),
        (
            "hrnetv2w48",
            HRNET_W18,
            "hrnet_w18_small_v2",
            {"backbone_options": {"concat": True}, "auxiliary": NO_AUXILIARY, "halve": True},
            encoders.PLAIN,
        ),
        (
            "vitlarge",
            VIT,
            "vit_large_patch16_384",
            {
                "backbone_options": {"img_size": 64, "interpolation": "bilinear", "norm_outputs": True},
                "dilations": (1, 6, 12, 18),
                "auxiliary": Auxiliary(maps=(0, 1, 2), channels=(16,), num_convs=2, upsample=4),
            },
            encoders.VIT,
        ),
    ],
    ids=["resnet", "resnest", "hrnet", "vit"],
)
def test_ssseg(
    name: str,
    changes: dict[str, Any],
    backbone: str,
    options: dict[str, Any],
    table: Table,
    configs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = build_ssseg(
        f"mcibi/mcibi_deeplabv3_{name}_ade20k",
        configs,
        num_classes=CLASSES,
        head__feats_channels=32,
        head__transform_channels=16,
        head__out_channels=32,
        head__update_cfg__momentum_cfg__base_lr=0.01,
        **changes,
    )
    narrowed(monkeypatch, "vit_large_patch16_384", depth=4, embed_dim=64, num_heads=4)
    ours = create_model(
        "mcibi",
        backbone,
        CLASSES,
        channels=32,
        inner_channels=16,
        memory_weight=1.0,
        dropout=0.0,
        **{"auxiliary": Auxiliary(channels=(16,)), **options},
    )
    carry(theirs, ours, table, heads.MCIBI_SSSEG)
    with torch.no_grad():
        theirs.memory_module.memory[UNSEEN] = ours.head.memory.features[UNSEEN] = 0.0
    assert_same_logits(theirs, ours)

    # What it recalls shares storage with the memory, which it changes before the backward pass has used it.
    product = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: product(a, b.clone()))
    theirs.forward = functools.partial(theirs.forward, learning_rate=0.01 * LR_FACTOR, epoch=2)
    ours.set_progress(Progress(epoch=2, lr_factor=LR_FACTOR))
    terms = {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "memory": "loss_memory"}
    count = len(ours.auxiliary)
    terms |= {f"aux{index}_seg": f"loss_aux{index + 1}" if count > 1 else "loss_aux" for index in range(count)}
    assert_same_training(theirs, ours, terms, CLASSES)
    assert_close(ours.head.memory.features, theirs.memory_module.memory[:, 0], "the memory")
    assert ours.head.memory.features[UNSEEN].any()


def test_full_size_ssseg(configs: Path) -> None:
    theirs = build_ssseg("mcibi/mcibi_deeplabv3_resnet50os8_ade20k", configs)
    ours = create_model("mcibi", None, 150)
    carry(theirs, ours, encoders.DEEP_STEM, heads.MCIBI_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
