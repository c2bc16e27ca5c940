"""UPerNet against MMSegmentation, SSSegmentation and transformers: logits, losses, gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.narrow import narrowed

from parity.pieces import join_projections
from parity.references import INSTALL, build_mmseg, build_ssseg
from parity.same_function import (
    CLASSES,
    SQUARE_WIDE_ODD,
    TOLERANCE,
    assert_close,
    assert_same_logits,
    assert_same_training,
    carry,
    first_convolution,
    images_and_targets,
    randomise,
    small_mmseg,
    small_ssseg,
)
from vitrail import Auxiliary, create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Rules, Table, apply_table
from vitrail.losses import CrossEntropyLoss

pytestmark = pytest.mark.parity


def test_mmseg() -> None:
    theirs = build_mmseg("upernet/upernet_r18_4xb2-40k_cityscapes-512x1024", **small_mmseg())
    ours = create_model("upernet", "resnet18c", CLASSES, channels=64, auxiliary=Auxiliary(channels=(32,)), dropout=0.0)
    ours.criterion = CrossEntropyLoss(ignored_in_mean=True)
    carry(theirs, ours, encoders.DEEP_STEM, heads.UPERNET_MMSEG)
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
        "upernet",
        "resnet18c",
        CLASSES,
        output_stride=stride,
        channels=64,
        auxiliary=Auxiliary(channels=(32,)),
        dropout=0.0,
    )
    carry(theirs, ours, encoders.DEEP_STEM, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours)
    assert_same_training(theirs, ours, {"seg": "loss_cls", "aux0_seg": "loss_aux"})


def test_full_size(configs: Path) -> None:
    theirs = build_ssseg("upernet/upernet_resnet50os16_ade20k", configs)
    ours = create_model("upernet", "resnet50c", 150, output_stride=16)
    carry(theirs, ours, encoders.DEEP_STEM, heads.UPERNET_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])


_UPERNET: Rules = (
    *((rf"^backbone\.hidden_states_norms\.stage{i + 1}\.", f"backbone.norms.{i}.") for i in range(4)),
    (r"^decode_head\.classifier\.", "head.classifier."),
    (r"^auxiliary_head\.", "auxiliary.0."),
    (r"\.batch_norm\.", ".bn."),
    *heads.UPERNET_MMSEG.rules,
)
_CONVNEXT: Rules = (
    (r"^backbone\.embeddings\.patch_embeddings\.", "backbone.encoder.stem.0."),
    (r"^backbone\.embeddings\.layernorm\.", "backbone.encoder.stem.1."),
    (r"\.downsampling_layer\.", ".downsample."),
    (r"^(backbone\.encoder\.stages\.\d)\.layers\.", r"\1.blocks."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
)
_SWIN: Rules = (
    (r"^backbone\.swin\.layernorm\.", None),  # of a classifier, never applied
    (r"^backbone\.swin\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.patch_embed.proj."),
    (r"^backbone\.swin\.embeddings\.norm\.", "backbone.encoder.patch_embed.norm."),
    *((rf"^backbone\.swin\.encoder\.layers\.{i}\.downsample\.", f"backbone.later.{i + 1}.") for i in range(3)),
    (r"^backbone\.later\.(\d)\.", r"backbone.encoder.layers.\1.downsample."),
    (r"^backbone\.swin\.encoder\.", "backbone.encoder."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.relative_position_bias\.", ".attn."),
)
CONVNEXT_TRANSFORMERS = Table((*_CONVNEXT, *_UPERNET))
SWIN_TRANSFORMERS = Table((*_SWIN, *_UPERNET), join_projections(".attention.", ".attn.qkv."))
LEVELS = ["stage1", "stage2", "stage3", "stage4"]


def assert_same_in_transformers(encoder: Any, backbone: str, table: Table, sizes: Sequence[tuple[int, int]]) -> None:
    """Compare logits and the two losses with transformers' UPerNet on an encoder of the given configuration."""
    transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    config = transformers.UperNetConfig(
        backbone_config=encoder, hidden_size=64, auxiliary_channels=32, num_labels=CLASSES, loss_ignore_index=255
    )
    theirs = transformers.UperNetForSemanticSegmentation(config)
    ours = create_model(
        "upernet",
        backbone,
        CLASSES,
        channels=64,
        auxiliary=Auxiliary(channels=(32,)),
        dropout=0.0,
        backbone_options={"drop_path_rate": 0.0},
    )
    randomise(theirs)
    ours.load_state_dict(apply_table(theirs.state_dict(), table, "the reference"), strict=True)
    for size in sizes:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_close(ours.eval()(images), theirs.eval()(images).logits, f"logits at {size}")

    images, targets = images_and_targets(size=sizes[-1])
    loss = theirs.double().train()(images, labels=targets).loss
    mine = torch.stack(list(ours.double().train()(images, targets).values())).sum()
    assert mine.item() == pytest.approx(loss.item(), rel=TOLERANCE)
    loss.backward()
    mine.backward()
    gradients = [first_convolution(model.backbone).grad for model in (ours, theirs)]
    assert gradients[0] is not None and gradients[1] is not None
    assert_close(gradients[0], gradients[1], "the gradient of the first convolution")


def test_convnext_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    widths, depths = [24, 48, 64, 96], [1, 1, 2, 1]
    encoder = transformers.ConvNextConfig(
        hidden_sizes=widths, depths=depths, layer_scale_init_value=1.0, out_features=LEVELS
    )
    name = narrowed(monkeypatch, "convnext_tiny", dims=widths, depths=depths)
    assert_same_in_transformers(encoder, name, CONVNEXT_TRANSFORMERS, SQUARE_WIDE_ODD)


def test_swin_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a window covers the map transformers shifts none; that of the last stage has no second block here."""
    transformers = pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    depths, heads_of = [2, 2, 2, 1], [1, 2, 4, 8]
    encoder = transformers.SwinConfig(
        embed_dim=24, depths=depths, num_heads=heads_of, drop_path_rate=0.0, out_features=LEVELS
    )
    name = narrowed(
        monkeypatch, "swin_tiny_patch4_window7_224", embed_dim=24, depths=tuple(depths), num_heads=tuple(heads_of)
    )
    assert_same_in_transformers(encoder, name, SWIN_TRANSFORMERS, [(224, 224), (224, 288), (225, 289)])
