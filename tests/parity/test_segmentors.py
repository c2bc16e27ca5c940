"""FCN, PSPNet, CGNet and Fast-SCNN against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.references import build_mmseg, build_ssseg
from parity.same_function import CLASSES, assert_same_logits, assert_same_training, carry, small_mmseg, small_ssseg
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.losses import BinaryCrossEntropyLoss, CrossEntropyLoss

pytestmark = pytest.mark.parity

MMSEG_TERMS = {"seg": "decode.loss_ce", "aux0_seg": "aux.loss_ce"}
SSSEG_TERMS = {"seg": "loss_cls", "aux0_seg": "loss_aux"}
R18 = {
    "fcn": "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024",
    "pspnet": "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024",
}
R50 = {"fcn": "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024", "pspnet": "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512"}
MMSEG_HEADS = {"fcn": heads.FCN_MMSEG, "pspnet": heads.PSPNET_MMSEG}
SSSEG_HEADS = {"fcn": heads.FCN_SSSEG[2], "pspnet": heads.PSPNET_SSSEG}
MMSEG_ONLY = {"fcn": {"concat_input": True}, "pspnet": {}}


@pytest.mark.parametrize("name", ["fcn", "pspnet"])
def test_mmseg(name: str) -> None:
    theirs = build_mmseg(R18[name], **small_mmseg())
    ours = create_model(
        name,
        "resnet18c",
        CLASSES,
        output_stride=8,
        channels=64,
        auxiliary=Auxiliary(channels=(32,)),
        dropout=0.0,
        **MMSEG_ONLY[name],
    )
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, MMSEG_HEADS[name])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, MMSEG_TERMS)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", ["fcn", "pspnet"])
def test_ssseg(name: str, stride: int, configs: Path) -> None:
    theirs = build_ssseg(f"{name}/{name}_resnet50os{stride}_ade20k", configs, **small_ssseg())
    ours = create_model(
        name, "resnet18c", CLASSES, output_stride=stride, channels=64, auxiliary=Auxiliary(channels=(32,)), dropout=0.0
    )
    carry(theirs, ours, encoders.DEEP_STEM, SSSEG_HEADS[name])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, SSSEG_TERMS)


@pytest.mark.parametrize("name", ["fcn", "pspnet"])
def test_full_size_mmseg(name: str) -> None:
    theirs = build_mmseg(R50[name])
    ours = create_model(
        name, "resnet50c", theirs.num_classes, output_stride=8, auxiliary=Auxiliary(channels=(256,)), **MMSEG_ONLY[name]
    )
    carry(theirs, ours, encoders.DEEP_STEM, MMSEG_HEADS[name])
    assert_same_logits(theirs, ours, sizes=[(97, 129)])


def test_cgnet_mmseg() -> None:
    theirs = build_mmseg(
        "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680",
        decode_head__num_classes=CLASSES,
        decode_head__loss_decode__class_weight=None,  # with weights its loss cannot take ignored pixels
    )
    ours = create_model("cgnet", None, CLASSES)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.CGNET_MMSEG, heads.FCN_MMSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce"})


def test_cgnet_ssseg(configs: Path) -> None:
    weights = [2.5, 6.7, 3.5, 9.8, 9.6, 9.3, 10.2, 9.9, 4.3]
    theirs = build_ssseg(
        "cgnet/fcn_cgnetm3n21_cityscapes", configs, num_classes=CLASSES, losses__loss_cls__class_weight=weights
    )
    ours = create_model("cgnet", None, CLASSES, backbone_options={"norm_eps": 1e-5})
    ours.criterion = CrossEntropyLoss(class_weights=weights)
    carry(theirs, ours, encoders.CGNET_SSSEG, heads.FCN_SSSEG[0])
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls"})


def test_fastscnn_mmseg() -> None:
    classes = {f"{head}__num_classes": CLASSES for head in ("decode_head", "auxiliary_head__0", "auxiliary_head__1")}
    theirs = build_mmseg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024", **classes)
    ours = create_model("fastscnn", None, CLASSES, dropout=0.0)
    ours.criterion = BinaryCrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.FASTSCNN_MMSEG, heads.FASTSCNN_MMSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "decode.loss_ce", "aux0_seg": "aux_1.loss_ce", "aux1_seg": "aux_0.loss_ce"}
    assert_same_training(theirs, ours, terms)


def test_fastscnn_ssseg(configs: Path) -> None:
    theirs = build_ssseg("fastscnn/depthwiseseparablefcn_fastscnn_cityscapes", configs, num_classes=CLASSES)
    ours = create_model(
        "fastscnn", None, CLASSES, dropout=0.0, depthwise_act=True, backbone_options={"depthwise_act": True}
    )
    ours.criterion = BinaryCrossEntropyLoss()
    carry(theirs, ours, encoders.FASTSCNN_SSSEG, heads.FASTSCNN_SSSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "loss_cls", "aux0_seg": "loss_aux1", "aux1_seg": "loss_aux2"}
    assert_same_training(theirs, ours, terms)
