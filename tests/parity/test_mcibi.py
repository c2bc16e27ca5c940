"""MCIBI against SSSegmentation: logits, losses, gradients, and the memory after a step."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import heads, renaming
from parity.references import build_ssseg
from parity.renaming import Rules
from parity.same_function import assert_close, assert_same_logits, assert_same_training, carry
from torch import Tensor

from vitrail import create_model
from vitrail.segmentors import Progress

pytestmark = pytest.mark.parity

CLASSES = 9
UNSEEN = 3  # a class of the targets that the memory does not hold yet
LR_FACTOR = 0.5


def _pairs(theirs: str, ours: str) -> Rules:
    return ((rf"^{theirs}\.0\.", f"{ours}.conv."), (rf"^{theirs}\.1\.", f"{ours}.bn."))


def _attention(theirs: str, ours: str) -> Rules:
    theirs = rf"memory_module\.{theirs}"
    return (
        *(
            rule
            for name in ("key", "query")
            for i in range(2)
            for rule in _pairs(rf"{theirs}\.{name}_project\.{i}", f"head.{ours}.{name}.{i}")
        ),
        *_pairs(rf"{theirs}\.value_project", f"head.{ours}.value.0"),
        *_pairs(rf"{theirs}\.out_project", f"head.{ours}.out.0"),
    )


def _classifier(theirs: str, ours: str) -> Rules:
    return (*_pairs(theirs, f"{ours}.0"), (rf"^{theirs}\.4\.", f"{ours}.2."))


MCIBI_SSSEG: Rules = (
    *heads.SSSEG_AUXILIARY,
    *_pairs("downsample_backbone", "head.halve"),
    *_pairs(r"context_within_image_module\.bottleneck", "head.context.fuse"),
    *(
        rule
        for i in range(4)
        for rule in _pairs(rf"context_within_image_module\.parallel_branches\.{i}", f"head.context.branches.{i}")
    ),
    (r"^context_within_image_module\.global_branch\.1\.", "head.context.pool.1.conv."),
    (r"^context_within_image_module\.global_branch\.2\.", "head.context.pool.1.bn."),
    *_pairs("bottleneck", "head.project"),
    *_attention("self_attention", "beyond"),
    *_attention("self_attention_ms", "within"),
    *_pairs(r"memory_module\.bottleneck", "head.fuse_beyond"),
    *_pairs(r"memory_module\.bottleneck_ms", "head.fuse_within"),
    *_classifier("decoder_stage1", "head.early_classifier"),
    *_classifier("decoder_stage2", "head.classifier"),
    (r"^memory_module\.memory$", "head.memory.features"),
)


def one_per_class(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the second axis of the memory away: room for several vectors per class, of which there is always one."""
    return state | {"head.memory.features": state["head.memory.features"].squeeze(1)}


@pytest.fixture
def configs(shared: Path) -> Path:
    return shared / "reference" / "ssseg_configs.json"


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


@pytest.mark.parametrize(
    ("name", "changes", "backbone", "options", "rules"),
    [
        ("resnet50os8", RESNET18, "resnet18c", {"output_stride": 8}, renaming.RESNET_DEEP_STEM),
        ("resnest101os8", RESNEST50, "resnest50d", {"output_stride": 8}, renaming.RESNET_DEEP_STEM),
        (
            "hrnetv2w48",
            HRNET_W18,
            "hrnet_w18_small_v2",
            {"backbone_options": {"concat": True}, "aux_weight": 0.0, "halve": True},
            renaming.HRNET,
        ),
    ],
    ids=["resnet", "resnest", "hrnet"],
)
def test_ssseg(
    name: str,
    changes: dict[str, Any],
    backbone: str,
    options: dict[str, Any],
    rules: Rules,
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
    ours = create_model(
        "mcibi",
        backbone,
        CLASSES,
        channels=32,
        inner_channels=16,
        aux_channels=16,
        memory_weight=1.0,
        dropout=0.0,
        **options,
    )
    carry(theirs, ours, rules, MCIBI_SSSEG, layouts=[one_per_class])
    with torch.no_grad():
        theirs.memory_module.memory[UNSEEN] = ours.head.memory.features[UNSEEN] = 0.0
    assert_same_logits(theirs, ours)

    # What it recalls shares storage with the memory, which it changes before the backward pass has used it.
    product = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: product(a, b.clone()))
    theirs.forward = functools.partial(theirs.forward, learning_rate=0.01 * LR_FACTOR, epoch=2)
    ours.set_progress(Progress(epoch=2, lr_factor=LR_FACTOR))
    terms = {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "memory": "loss_memory"}
    assert_same_training(theirs, ours, terms | ({"aux0_seg": "loss_aux"} if len(ours.auxiliary) else {}), CLASSES)
    assert_close(ours.head.memory.features, theirs.memory_module.memory[:, 0], "the memory")
    assert ours.head.memory.features[UNSEEN].any()


def test_full_size_ssseg(configs: Path) -> None:
    theirs = build_ssseg("mcibi/mcibi_deeplabv3_resnet50os8_ade20k", configs)
    ours = create_model("mcibi", None, 150)
    carry(theirs, ours, renaming.RESNET_DEEP_STEM, MCIBI_SSSEG, layouts=[one_per_class])
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
