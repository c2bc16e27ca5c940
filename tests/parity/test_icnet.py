"""ICNet against MMSegmentation and SSSegmentation: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import renaming
from parity.heads import MMSEG_AUXILIARY
from parity.references import build_mmseg, build_ssseg
from parity.renaming import Rules, Values
from parity.same_function import assert_same_logits, assert_same_training, carry
from torch import Tensor

from vitrail import create_model
from vitrail.errors import ModelError
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity

CLASSES = 9
SMALL = {"channels": 16, "pool_channels": 32, "dropout": 0.0}

_TRUNK: Rules = (
    (r"^backbone(_net)?\.", "trunk."),
    *((rf"^trunk\.{pattern.lstrip('^')}", f"trunk.{new}") for pattern, new in renaming.RESNET_DEEP_STEM[:-1]),
    (r"^trunk\.", "trunk.encoder."),
    (r"^conv_sub1\.", "branch_full."),
    (r"^conv_sub2\.", "branch_half."),
    (r"^conv_sub4\.", "branch_quarter."),
)
ENCODER_MMSEG: Rules = (*_TRUNK, (r"^psp_modules\.", "pyramid.stages."), (r"^psp_bottleneck\.", "fuse."))


def pooled_last(weight: Tensor) -> Tensor:
    """Bring the inputs of MMSegmentation's convolution over the pooled maps, then the map itself, into our order."""
    pooled = 4 * weight.shape[0]
    return torch.cat([weight[:, pooled:], weight[:, :pooled]], dim=1)


ENCODER_MMSEG_VALUES: Values = ((r"^fuse\.conv\.weight$", pooled_last),)
ENCODER_SSSEG: Rules = (
    *_TRUNK,
    *((rf"^branch_full\.{3 * i}\.", f"branch_full.{i}.conv.") for i in range(3)),
    *((rf"^branch_full\.{3 * i + 1}\.(?!conv|bn)", f"branch_full.{i}.bn.") for i in range(3)),
    (r"^(branch_half|branch_quarter)\.0\.", r"\1.conv."),
    (r"^(branch_half|branch_quarter)\.1\.", r"\1.bn."),
    (r"^ppm_net\.branches\.(\d)\.1\.", r"pyramid.stages.\1.1.conv."),
    (r"^ppm_net\.branches\.(\d)\.2\.", r"pyramid.stages.\1.1.bn."),
    (r"^ppm_net\.bottleneck\.0\.", "fuse.conv."),
    (r"^ppm_net\.bottleneck\.1\.", "fuse.bn."),
)
_NECK: Rules = (
    (r"^neck\.cff_24\.", "head.fuse_half."),
    (r"^neck\.cff_12\.", "head.fuse_full."),
    (r"\.conv_(low|high)\.", r".\1."),
)
HEAD_MMSEG: Rules = (
    *_NECK,
    *MMSEG_AUXILIARY,
    (r"^auxiliary\.", "head.early."),
    (r"^decode_head\.", "head.decoder."),
    (r"\.conv_seg\.", ".classifier."),
)
HEAD_SSSEG: Rules = (
    *_NECK,
    (r"^(head\.fuse_\w+\.\w+)\.0\.", r"\1.conv."),
    (r"^(head\.fuse_\w+\.\w+)\.1\.", r"\1.bn."),
    (r"^auxiliary_decoder\.", "head.early."),
    (r"^decoder\.", "head.decoder."),
    (r"^(head\.(decoder|early\.\d))\.0\.", r"\1.convs.0.conv."),
    (r"^(head\.(decoder|early\.\d))\.1\.", r"\1.convs.0.bn."),
    (r"^(head\.(decoder|early\.\d))\.4\.", r"\1.classifier."),
)


@pytest.fixture
def configs(shared: Path) -> Path:
    return shared / "reference" / "ssseg_configs.json"


def test_mmseg() -> None:
    names = ("decode_head", "auxiliary_head__0", "auxiliary_head__1")
    widths = {f"{name}__{key}": 16 for name in names for key in ("in_channels", "channels")}
    theirs = build_mmseg(
        "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832",
        **{f"{name}__num_classes": CLASSES for name in names},
        **widths,
        backbone__psp_out_channels=32,
        neck__out_channels=16,
    )
    ours = create_model("icnet", "resnet18c", CLASSES, output_stride=8, **SMALL)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, ENCODER_MMSEG, HEAD_MMSEG, ENCODER_MMSEG_VALUES)
    assert_same_logits(theirs, ours)
    terms = {"seg": "decode.loss_ce", "quarter": "aux_0.loss_ce", "half": "aux_1.loss_ce"}
    assert_same_training(theirs, ours, terms, CLASSES)


def test_ssseg(configs: Path) -> None:
    theirs = build_ssseg(
        "icnet/icnet_resnet50os8_cityscapes",
        configs,
        num_classes=CLASSES,
        backbone__depth=18,
        head__encoder={"layer_channels_list": (128, 512), "psp_out_channels": 32},
        head__feats_channels=16,
        auxiliary__0__in_channels=16,
        auxiliary__0__out_channels=16,
        auxiliary__1__in_channels=16,
        auxiliary__1__out_channels=16,
    )
    ours = create_model("icnet", "resnet18c", CLASSES, output_stride=8, **SMALL)
    carry(theirs, ours, ENCODER_SSSEG, HEAD_SSSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "loss_cls", "quarter": "loss_aux1", "half": "loss_aux2"}
    assert_same_training(theirs, ours, terms, CLASSES)


def test_full_size_ssseg(configs: Path) -> None:
    theirs = build_ssseg("icnet/icnet_resnet50os8_cityscapes", configs)
    ours = create_model("icnet", None, 19)
    carry(theirs, ours, ENCODER_SSSEG, HEAD_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])


def test_a_backbone_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a ResNet"):
        create_model("icnet", "test_convnext", CLASSES)
