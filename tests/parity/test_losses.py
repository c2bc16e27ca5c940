"""Losses against MMSegmentation's, SSSegmentation's and smp's."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.missing import require
from parity.references import require_mmseg, require_ssseg
from vitrail.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    LovaszLoss,
    OHEMCrossEntropyLoss,
)

pytestmark = pytest.mark.parity
CLASSES = 6
WEIGHTS = [0.5, 1.0, 2.0, 1.5, 0.25, 3.0]


@pytest.fixture
def logits() -> Tensor:
    return (2 * torch.randn(2, CLASSES, 23, 31, dtype=torch.float64)).requires_grad_()


@pytest.fixture
def targets() -> Tensor:
    targets = torch.randint(0, CLASSES - 1, (2, 23, 31))
    targets[0, :5] = 255
    return targets


def check(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(
        ours, theirs, rtol=1e-5, atol=1e-8, check_dtype=False
    )  # some references go through float32
    (a,) = torch.autograd.grad(ours, logits)
    (b,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)


def mmseg_losses() -> ModuleType:
    require_mmseg()
    return importlib.import_module("mmseg.models.losses")


def ssseg_loss(name: str, **options: Any) -> nn.Module:
    require_ssseg()
    build = importlib.import_module("ssseg.modules.models.losses").BuildLoss
    return build({"type": name, "ignore_index": 255, **options})


@pytest.mark.parametrize("ignored_in_mean", [False, True])
def test_cross_entropy_of_mmseg(logits: Tensor, targets: Tensor, ignored_in_mean: bool) -> None:
    theirs = mmseg_losses().CrossEntropyLoss(avg_non_ignore=not ignored_in_mean)
    ours = CrossEntropyLoss(ignored_in_mean=ignored_in_mean)
    check(ours(logits, targets), theirs(logits, targets, ignore_index=255), logits)


@pytest.mark.parametrize("ignored_in_mean", [False, True])
def test_binary_cross_entropy_of_mmseg(logits: Tensor, targets: Tensor, ignored_in_mean: bool) -> None:
    theirs = mmseg_losses().CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=not ignored_in_mean)
    ours = BinaryCrossEntropyLoss(ignored_in_mean=ignored_in_mean)
    check(ours(logits, targets), theirs(logits, targets, ignore_index=255), logits)


@pytest.mark.parametrize("min_kept", [10, 500, 5000])
def test_ohem_of_mmseg(logits: Tensor, targets: Tensor, min_kept: int) -> None:
    theirs = mmseg_losses().OhemCrossEntropy(thres=0.2, min_kept=2 * min_kept)
    check(OHEMCrossEntropyLoss(threshold=0.2, min_kept=min_kept)(logits, targets), theirs(logits, targets), logits)


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_of_mmseg(logits: Tensor, targets: Tensor, per_image: bool) -> None:
    theirs = mmseg_losses().LovaszLoss(per_image=per_image, reduction="mean" if per_image else "none")
    logits = logits.float()  # the reference cannot do otherwise
    check(LovaszLoss(per_image=per_image)(logits, targets), theirs(logits, targets, ignore_index=255), logits)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("weights_in_mean", [True, False])
def test_cross_entropy_of_ssseg(logits: Tensor, targets: Tensor, weights: list | None, weights_in_mean: bool) -> None:
    theirs = ssseg_loss("CrossEntropyLoss", class_weight=weights, norm_loss_with_class_weight=weights_in_mean)
    ours = CrossEntropyLoss(class_weights=weights, weights_in_mean=weights_in_mean)
    check(ours(logits, targets), theirs(logits, targets), logits)


def test_binary_cross_entropy_of_ssseg(logits: Tensor, targets: Tensor) -> None:
    theirs = ssseg_loss("CrossEntropyLoss", use_sigmoid=True)
    check(BinaryCrossEntropyLoss()(logits, targets), theirs(logits, targets), logits)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_focal_of_ssseg(logits: Tensor, targets: Tensor, sigmoid: bool) -> None:
    theirs = ssseg_loss("FocalLoss", use_sigmoid=sigmoid)
    check(FocalLoss(alpha=0.25, sigmoid=sigmoid)(logits, targets), theirs(logits, targets), logits)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_dice_of_ssseg(logits: Tensor, targets: Tensor, sigmoid: bool) -> None:
    theirs = ssseg_loss("DiceLoss", use_sigmoid=sigmoid)
    check(DiceLoss(sigmoid=sigmoid, per_class=False, squared=True)(logits, targets), theirs(logits, targets), logits)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_dice_of_mmseg(logits: Tensor, targets: Tensor, sigmoid: bool, squared: bool) -> None:
    theirs = mmseg_losses().DiceLoss(use_sigmoid=sigmoid, naive_dice=not squared)
    ours = DiceLoss(sigmoid=sigmoid, per_class=False, squared=squared, ignored_in_mass=True)
    check(ours(logits, targets), theirs(logits, targets), logits)


def test_dice_of_smp(logits: Tensor, targets: Tensor) -> None:
    smp_losses = require("segmentation_models_pytorch.losses", "segmentation_models.pytorch")
    theirs = smp_losses.DiceLoss("multiclass", ignore_index=255)(logits, targets)
    present = CLASSES - 1  # smp divides by all classes, absent ones counting as solved
    check(DiceLoss(eps=0.0)(logits, targets), theirs * CLASSES / present, logits)
