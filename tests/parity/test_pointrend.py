"""PointRend against MMSegmentation and SSSegmentation; both draw the same points from the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from parity.references import build_mmseg, build_ssseg
from parity.same_function import assert_same_logits, assert_same_training, carry
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity

CLASSES = 9
SMALL = {"channels": 32, "coarse_channels": 16, "num_points": 256, "points_per_step": 512, "dropout": 0.0}


def flat_norms(model: nn.Module) -> nn.Module:
    """Give the layers over points the norm that takes [B, C, N], as SyncBatchNorm does."""
    for layer in model.fcs:
        layer[1] = nn.BatchNorm1d(layer[1].num_features)
    return model


def seed_points(*models: nn.Module) -> None:
    """Let every forward pass begin at the same point of the random sequence."""
    for model in models:
        model.register_forward_pre_hook(lambda *_: (torch.manual_seed(3), None)[1])


def test_mmseg() -> None:
    theirs = build_mmseg(
        "point_rend/pointrend_r50_4xb4-160k_ade20k-512x512",
        backbone__depth=18,
        neck__in_channels=[64, 128, 256, 512],
        neck__out_channels=32,
        decode_head__0__in_channels=[32] * 4,
        decode_head__0__channels=16,
        decode_head__0__num_classes=CLASSES,
        decode_head__1__in_channels=[32],
        decode_head__1__channels=32,
        decode_head__1__num_classes=CLASSES,
        train_cfg__num_points=256,
        test_cfg__subdivision_num_points=512,
    )
    ours = create_model("pointrend", "resnet18c", CLASSES, norm=False, coarse_weight=1.0, **SMALL)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, heads.POINTREND_MMSEG)
    # its forward without labels leaves the refinement out
    theirs._forward = lambda images, *_: theirs.encode_decode(images, [{"img_shape": tuple(images.shape[-2:])}])
    assert_same_logits(theirs, ours, at_image_size=True)
    seed_points(theirs.backbone, ours.backbone)
    terms = {"seg": "decode_0.loss_ce", "point": "decode_1.pointloss_ce"}
    assert_same_training(theirs, ours, terms, CLASSES, dtype=torch.float32)


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg(
        "pointrend/pointrend_resnet50os32_ade20k",
        configs,
        num_classes=CLASSES,
        backbone__depth=18,
        head__fpn_in_channels_list=[64, 128, 256, 512],
        head__pointrend_in_channels_list=[32],
        head__feats_channels=32,
        head__scale_head_channels=16,
        auxiliary__in_channels=16,
        head__train__num_points=256,
        head__test__subdivision_num_points=512,
    )
    flat_norms(theirs)
    ours = create_model("pointrend", "resnet18c", CLASSES, **SMALL)
    carry(theirs, ours, encoders.DEEP_STEM, heads.POINTREND_SSSEG)
    assert_same_logits(theirs, ours)
    seed_points(theirs.backbone_net, ours.backbone)
    assert_same_training(theirs, ours, {"seg": "loss_aux", "point": "loss_cls"}, CLASSES, dtype=torch.float32)


def test_full_size_ssseg(configs: Path) -> None:
    theirs = flat_norms(build_ssseg("pointrend/pointrend_resnet50os32_ade20k", configs))
    ours = create_model("pointrend", None, 150)
    carry(theirs, ours, encoders.DEEP_STEM, heads.POINTREND_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
