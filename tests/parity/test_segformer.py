"""SegFormer against MMSegmentation, SSSegmentation and transformers: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parity import heads, renaming
from parity.pieces import join_pieces
from parity.references import INSTALL, build_mmseg, build_ssseg
from parity.renaming import randomise, rename
from parity.same_function import (
    CLASSES,
    SQUARE_WIDE_ODD,
    assert_close,
    assert_same_logits,
    assert_same_training,
    carry,
)
from torch import nn

from vitrail import create_model
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity

NO_SKIPPING = {"drop_path_rate": 0.0}


def test_mmseg() -> None:
    theirs = build_mmseg(
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        decode_head__num_classes=CLASSES,
        decode_head__channels=64,
        backbone__drop_path_rate=0.0,
    )
    ours = create_model("segformer", "mit_b0", CLASSES, channels=64, dropout=0.0, backbone_options=NO_SKIPPING)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, renaming.MIT, heads.SEGFORMER_MMSEG, renaming.MIT_VALUES)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "decode.loss_ce"})


@pytest.mark.parametrize("size", ["b0", "b1", "b2", "b3", "b4", "b5"])
def test_ssseg(size: str, configs: Path) -> None:
    theirs = build_ssseg(
        f"segformer/segformer_mit{size}_ade20k",
        configs,
        num_classes=CLASSES,
        backbone__drop_path_rate=0.0,
        backbone__structure_type="without its check of the rate",
    )
    ours = create_model("segformer", f"mit_{size}", CLASSES, dropout=0.0, backbone_options=NO_SKIPPING)
    carry(theirs, ours, renaming.MIT, heads.SEGFORMER_SSSEG, renaming.MIT_VALUES)
    if size in ("b0", "b1"):
        assert_same_logits(theirs, ours)
        assert_same_training(theirs, ours, {"seg": "loss_cls"})
    else:  # deeper, of the same blocks
        assert_same_logits(theirs, ours, sizes=[(97, 129)])


def test_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    theirs = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=CLASSES)).eval()
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6  # the authors' and everybody else's; transformers leaves torch's default
    ours = create_model("segformer", "mit_b0", CLASSES, linear_projection=True).eval()
    randomise(theirs)
    state = join_pieces(rename(theirs.state_dict(), heads.SEGFORMER_TRANSFORMERS))
    ours.load_state_dict(heads.finest_first(state), strict=True)
    for size in SQUARE_WIDE_ODD:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_close(ours.head(ours.backbone(images)), theirs(images).logits, f"logits at {size}")
