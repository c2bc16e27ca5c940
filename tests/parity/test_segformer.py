"""SegFormer against MMSegmentation, SSSegmentation and transformers: logits, losses, gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from parity.pieces import join_projections
from parity.references import INSTALL, build_mmseg, build_ssseg
from parity.same_function import (
    CLASSES,
    SQUARE_WIDE_ODD,
    assert_close,
    assert_same_logits,
    assert_same_training,
    carry,
    randomise,
)
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Rules, State, Table, apply_table
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
    carry(theirs, ours, encoders.MIT, heads.SEGFORMER_MMSEG)
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
    carry(theirs, ours, encoders.MIT, heads.SEGFORMER_SSSEG)
    if size in ("b0", "b1"):
        assert_same_logits(theirs, ours)
        assert_same_training(theirs, ours, {"seg": "loss_cls"})
    else:  # deeper, of the same blocks
        assert_same_logits(theirs, ours, sizes=[(97, 129)])


RULES_TRANSFORMERS: Rules = (
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.stages.\1.embed.proj."),
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.", r"backbone.stages.\1.embed.norm."),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.stages.\1.norm."),
    (r"^segformer\.stages\.", "backbone.stages."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attn.shrink."),
    (r"\.attention\.sequence_reduction\.layer_norm\.", ".attn.norm."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.mlp\.dwconv\.dwconv\.", ".mlp.conv."),
    (r"^decode_head\.linear_projections\.(\d)\.proj\.", r"head.projections.\1."),
    (r"^decode_head\.linear_fuse\.", "head.fuse.conv."),
    (r"^decode_head\.batch_norm\.", "head.fuse.bn."),
    (r"^decode_head\.classifier\.", "head.classifier."),
)


def finest_first(state: State) -> State:
    """Turn the matrices of projections into convolutions, and join the finest map first, as we do.

    The authors and transformers join the coarsest first.
    """
    state = {k: v[:, :, None, None] if ".projections." in k and v.dim() == 2 else v for k, v in state.items()}
    name = "head.fuse.conv.weight"
    return {**state, name: torch.cat(state[name].chunk(4, dim=1)[::-1], dim=1)}


SEGFORMER_TRANSFORMERS = Table(RULES_TRANSFORMERS, (*join_projections(".attention.", ".attn.qkv."), finest_first))


def test_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    theirs = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=CLASSES)).eval()
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6  # the authors' and everybody else's; transformers leaves torch's default
    ours = create_model("segformer", "mit_b0", CLASSES, linear_projection=True).eval()
    randomise(theirs)
    ours.load_state_dict(apply_table(theirs.state_dict(), SEGFORMER_TRANSFORMERS, "the reference"), strict=True)
    for size in SQUARE_WIDE_ODD:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_close(ours.head(ours.backbone(images)), theirs(images).logits, f"logits at {size}")
