"""MaskFormer against SSSegmentation and transformers, and our assignment solver against scipy's."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.pieces import join_projections
from parity.references import INSTALL, build_ssseg
from parity.same_function import (
    SQUARE_WIDE_ODD,
    TOLERANCE,
    assert_close,
    assert_same_logits,
    assert_same_training,
    carry,
    first_convolution,
    images_and_targets,
    randomise,
)
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.checkpoints.sources.renaming import Rules, Table, apply_table
from vitrail.layers.assignment import assign
from vitrail.segmentors import Segmentor

pytestmark = pytest.mark.parity

CLASSES = 9
SMALL: dict[str, Any] = {
    "channels": 32,
    "mask_channels": 32,
    "query_channels": 32,
    "num_queries": 20,
    "num_layers": 3,
    "feedforward_channels": 64,
    "dropout": 0.0,
}
SMALL_SSSEG: dict[str, Any] = {
    "num_classes": CLASSES,
    "head__feats_channels": 32,
    "head__mask_feats_channels": 32,
    "head__predictor__hidden_dim": 32,
    "head__predictor__num_queries": 20,
    "head__predictor__dec_layers": 3,
    "head__predictor__dim_feedforward": 64,
    "head__predictor__dropout": 0.0,
    "head__predictor__act_cfg": {"type": "ReLU", "inplace": False},
}
RESNET18_SSSEG = {
    "type": "ResNet",
    "depth": 18,
    "structure_type": "resnet18conv3x3stem",
    "pretrained": False,
    "outstride": 32,
    "use_conv3x3_stem": True,
    "selected_indices": [0, 1, 2, 3],
}

RULES_TRANSFORMERS: Rules = (
    (r"^criterion\.", None),
    (r"^model\.pixel_level_module\.encoder\.", "backbone.encoder."),
    (r"\.embedder\.embedder\.convolution\.", ".conv1."),
    (r"\.embedder\.embedder\.normalization\.", ".bn1."),
    *((rf"\.encoder\.stages\.{i}\.layers\.(\d+)\.", rf".layer{i + 1}.\1.") for i in range(4)),
    *((rf"\.layer\.{i}\.convolution\.", f".conv{i + 1}.") for i in range(3)),
    *((rf"\.layer\.{i}\.normalization\.", f".bn{i + 1}.") for i in range(3)),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"^model\.pixel_level_module\.decoder\.", "head.pixel_decoder."),
    (r"\.fpn\.stem\.", ".deepest."),
    (r"\.fpn\.layers\.(\d)\.proj\.", r".laterals.\1."),
    (r"\.fpn\.layers\.(\d)\.block\.", r".smooth.\1."),
    (r"\.mask_projection\.", ".project."),
    (r"^model\.transformer_module\.", "head.query_decoder."),
    (r"\.queries_embedder\.", ".queries."),
    (r"\.input_projection\.", ".project."),
    (r"\.decoder\.layers\.", ".layers."),
    (r"\.decoder\.layernorm\.", ".norm."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.encoder_attn_layer_norm\.", ".norm2."),
    (r"\.final_layer_norm\.", ".norm3."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.mlp\.fc", ".fc"),
    (r"\.o_proj\.", ".out_proj."),
    (r"^class_predictor\.", "head.classifier."),
    (r"^mask_embedder\.(\d)\.0\.", r"head.mask_mlp.\1."),
)
MASKFORMER_TRANSFORMERS = Table(RULES_TRANSFORMERS, join_projections(".", ".in_proj_"))


def ssseg(configs: Path, name: str = "maskformer/maskformer_swintiny_ade20k", **changes: Any) -> nn.Module:
    model = build_ssseg(name, configs, **changes)
    # its default is the value its datasets give to ignored pixels
    model.criterion.formattargets = functools.partial(model.criterion.formattargets, ignore_index=255)
    return model


def weigh_classes(model: Any) -> None:
    """Give the class loss its weights, which lie among the model's buffers, back after they were randomised."""
    model.criterion.empty_weight.fill_(1.0)
    model.criterion.empty_weight[-1] = 0.1


def ssseg_terms(num_layers: int) -> dict[str, str]:
    names = {"class": "loss_ce", "mask": "loss_mask", "dice": "loss_dice"}
    early = {f"layer{i}_{ours}": f"{name}_{i}" for i in range(num_layers - 1) for ours, name in names.items()}
    return names | early


def test_ssseg(configs: Path) -> None:
    theirs = ssseg(configs, **SMALL_SSSEG, backbone=RESNET18_SSSEG, head__in_channels_list=[64, 128, 256, 512])
    ours = create_model("maskformer", "resnet18c", CLASSES, pool_sizes=(1, 2, 3, 6), **SMALL)
    carry(theirs, ours, encoders.DEEP_STEM, heads.MASKFORMER_SSSEG)
    weigh_classes(theirs)
    assert_same_logits(theirs, ours, at_image_size=True)
    assert_same_training(theirs, ours, ssseg_terms(3), CLASSES)


def test_swin_ssseg(configs: Path) -> None:
    theirs = ssseg(configs, **SMALL_SSSEG)
    ours = create_model(
        "maskformer",
        "swin_tiny_patch4_window7_224",
        CLASSES,
        backbone_options={"drop_path_rate": 0.0},  # timm's default is another
        pool_sizes=(1, 2, 3, 6),
        **SMALL,
    )
    carry(theirs, ours, encoders.SWIN, heads.MASKFORMER_SSSEG)
    weigh_classes(theirs)
    assert_same_logits(theirs, ours, at_image_size=True)
    assert_same_training(theirs, ours, ssseg_terms(3), CLASSES)


def test_full_size_ssseg(configs: Path) -> None:
    theirs = ssseg(configs)
    ours = create_model("maskformer", "swin_tiny_patch4_window7_224", 150, pool_sizes=(1, 2, 3, 6), channels=512)
    carry(theirs, ours, encoders.SWIN, heads.MASKFORMER_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)], at_image_size=True)


def transformers_model(
    classes: int, *, bottleneck: bool, channels: int, queries: int, layers: int, hidden: int
) -> nn.Module:
    pytest.importorskip("transformers", reason=f"transformers {INSTALL}")
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig

    backbone = ResNetConfig(
        depths=[3, 4, 6, 3] if bottleneck else [2, 2, 2, 2],
        hidden_sizes=[256, 512, 1024, 2048] if bottleneck else [64, 128, 256, 512],
        layer_type="bottleneck" if bottleneck else "basic",
        embedding_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    decoder = MaskFormerDetrConfig(
        num_queries=queries, decoder_layers=layers, decoder_ffn_dim=hidden, d_model=channels, dropout=0.0
    )
    config = MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=channels,
        mask_feature_size=channels,
        num_labels=classes,
    )
    return MaskFormerForInstanceSegmentation(config)


def carry_transformers(theirs: nn.Module, ours: Segmentor) -> None:
    randomise(theirs)
    ours.load_state_dict(apply_table(theirs.state_dict(), MASKFORMER_TRANSFORMERS, "the reference"), strict=True)


@torch.no_grad()
def assert_same_scores(theirs: nn.Module, ours: Segmentor, sizes: tuple[tuple[int, int], ...]) -> None:
    for size in sizes:
        images = torch.randn(1, 3, *size)
        out = theirs.eval()(images)
        # its image processor, without the resize that it does last
        belief = out.class_queries_logits.softmax(-1)[..., :-1]
        expected = torch.einsum("bqc,bqhw->bchw", belief, out.masks_queries_logits.sigmoid())
        assert_close(ours.eval().head(ours.backbone(images)), expected, f"scores at {size}")


def test_transformers() -> None:
    theirs = transformers_model(CLASSES, bottleneck=False, channels=32, queries=20, layers=3, hidden=64)
    ours = create_model("maskformer", "resnet18", CLASSES, deep_supervision=False, **SMALL)
    carry_transformers(theirs, ours)
    weigh_classes(theirs)
    assert_same_scores(theirs, ours, SQUARE_WIDE_ODD)

    theirs.double().train()
    ours.double().train()
    images, targets = images_and_targets(CLASSES)
    labels = [target.unique()[:-1] for target in targets]  # 255 comes last
    masks = [(target == own[:, None, None]).to(images.dtype) for target, own in zip(targets, labels, strict=True)]
    out = theirs(images, mask_labels=masks, class_labels=labels)
    logits = (out.masks_queries_logits, out.class_queries_logits)
    terms = theirs.get_loss_dict(*logits, masks, labels, None)
    mine = ours(images, targets)
    names = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
    assert set(mine) == set(names)
    for name, value in mine.items():
        assert value.item() == pytest.approx(terms[names[name]].item(), rel=TOLERANCE)
    out.loss.backward()
    torch.stack(list(mine.values())).sum().backward()
    gradients = [first_convolution(model).grad for model in (ours.backbone, theirs)]
    assert gradients[0] is not None and gradients[1] is not None
    assert_close(gradients[0], gradients[1], "the gradient of the first convolution")


def test_full_size_transformers() -> None:
    theirs = transformers_model(150, bottleneck=True, channels=256, queries=100, layers=6, hidden=2048)
    ours = create_model("maskformer", None, 150)
    carry_transformers(theirs, ours)
    assert_same_scores(theirs, ours, ((97, 129),))


@pytest.mark.parametrize("shape", [(100, 12), (12, 100), (30, 30), (1, 1), (5, 0)])
def test_the_assignment_costs_as_little_as_scipys(shape: tuple[int, int]) -> None:
    scipy = pytest.importorskip("scipy.optimize", reason=f"scipy {INSTALL}")
    random = np.random.default_rng(0)
    for digits in (0, 1, 12):  # rounded costs have ties
        cost = random.normal(size=shape).round(digits)
        rows, columns = assign(cost)
        expected = scipy.linear_sum_assignment(cost)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows) == min(shape)
        assert list(rows) == sorted(rows)
        assert cost[rows, columns].sum() == pytest.approx(cost[expected].sum(), abs=1e-9)
