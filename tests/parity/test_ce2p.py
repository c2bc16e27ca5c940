"""CE2P against SSSegmentation: logits, losses, gradients, and the edges it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from parity.references import build_ssseg, require_ssseg
from parity.same_function import assert_same_logits, assert_same_training, carry, images_and_targets
from vitrail import create_model
from vitrail.checkpoints.sources import encoders, heads
from vitrail.layers.edges import class_edges

pytestmark = pytest.mark.parity

CLASSES = 9
SMALL = {"channels": 32, "shortcut_channels": 16, "edge_channels": 16, "dropout": 0.0}


def ssseg_edges(targets: Tensor) -> Tensor:
    """Return what SSSegmentation's data pipeline makes of targets."""
    require_ssseg()
    from ssseg.modules.datasets.pipelines.transforms import EdgeExtractor

    extract = EdgeExtractor(edge_width=3, ignore_index=255)
    return torch.stack([torch.from_numpy(extract({"seg_target": x.numpy()})["edge_target"]) for x in targets]).long()


def test_edges() -> None:
    targets = torch.randint(0, 3, (2, 17, 23)).repeat_interleave(3, 1).repeat_interleave(3, 2)
    targets[0, 10:20, 5:30] = 255
    torch.testing.assert_close(class_edges(targets), ssseg_edges(targets), rtol=0, atol=0)


@pytest.mark.parametrize("dataset", ["voc", "lip"])
@pytest.mark.parametrize("stride", [8, 16])
def test_ssseg(stride: int, dataset: str, configs: Path) -> None:
    theirs = build_ssseg(
        f"ce2p/ce2p_resnet50os{stride}_{dataset}",
        configs,
        num_classes=CLASSES,
        backbone__depth=18,
        head__in_channels_list=[64, 128, 256, 512],
        head__feats_channels=32,
        head__epm_hidden_channels=16,
        head__shortcut_feats_channels=16,
    )
    ours = create_model(
        "ce2p", "resnet18c", CLASSES, output_stride=stride, edge_weights_in_mean=dataset == "lip", **SMALL
    )
    carry(theirs, ours, encoders.DEEP_STEM, heads.CE2P_SSSEG)
    assert_same_logits(theirs, ours)
    terms = {"seg": "loss_cls_stage2", "early": "loss_cls_stage1", "edge": "loss_edge"}
    _, targets = images_and_targets(CLASSES)
    assert_same_training(theirs, ours, terms, CLASSES, edge_targets=ssseg_edges(targets))


def test_full_size_ssseg(configs: Path) -> None:
    theirs = build_ssseg("ce2p/ce2p_resnet50os16_lip", configs)
    ours = create_model("ce2p", None, theirs.cfg["num_classes"])
    carry(theirs, ours, encoders.DEEP_STEM, heads.CE2P_SSSEG)
    assert_same_logits(theirs, ours, sizes=[(97, 129)])
