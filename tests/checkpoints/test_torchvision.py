"""torchvision's segmentation models: by name and from files, with the logits and the map of torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import get_model, get_model_weights

import vitrail
from vitrail.checkpoints import loading
from vitrail.checkpoints.sources.torchvision import torchvision_url
from vitrail.errors import CheckpointError


def reference(name: str, classes: int = 21) -> torch.nn.Module:
    torch.manual_seed(0)
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = get_model(name, weights=None, weights_backbone=None, num_classes=classes, **auxiliary).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    "name",
    [
        "fcn_resnet50",
        "deeplabv3_resnet50",
        "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
        pytest.param("fcn_resnet101", marks=pytest.mark.nightly),
        pytest.param("deeplabv3_resnet101", marks=pytest.mark.nightly),
    ],
)
@torch.no_grad()
def test_a_published_model_computes_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = reference(name)
    asked = []

    def fetched(url: str, *, sha256: str | None) -> Path:
        asked.append((url, sha256))
        path = tmp_path / url.rpartition("/")[2]
        torch.save(theirs.state_dict(), path)
        return path

    monkeypatch.setattr(loading, "download", fetched)
    ours = vitrail.load(f"torchvision/{name}")
    weights = get_model_weights(name)["DEFAULT"]
    assert asked == [(weights.url, weights.url.rpartition("-")[2].removesuffix(".pth"))]
    assert ours.card is not None and ours.card.name == name and ours.card.source == weights.url
    transforms = weights.transforms()
    assert ours.card.mean == pytest.approx([255 * value for value in transforms.mean])
    assert ours.card.std == pytest.approx([255 * value for value in transforms.std])
    assert ours.card.recipe["data"]["eval_resize"]["size"][0] == transforms.resize_size[0]
    images = torch.randn(1, 3, 65, 81)
    expected = theirs(images)
    assert (ours(images) - expected["out"]).abs().max() < 1e-4 * expected["out"].abs().max()
    if "aux" in expected:
        auxiliary = ours.auxiliary[0].predict(ours.backbone(images), (65, 81))
        assert (auxiliary - expected["aux"]).abs().max() < 1e-4 * expected["aux"].abs().max()
    assert len(ours.card.classes) == len(weights.meta["categories"]) == 21
    assert [name.replace(" ", "") for name in ours.card.classes[1:3]] == weights.meta["categories"][1:3]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Did you mean 'torchvision/fcn_resnet50'\?"):
        torchvision_url("torchvision/fcn_resnet5")
    torch.save(reference("fcn_resnet50", classes=3).state_dict(), tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match="for 3 classes; those for VOC's 21 can be read"):
        vitrail.load(tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match="leave out like=…"):
        vitrail.load(tmp_path / "mine.pth", like="ssseg/pspnet_resnet50os8_voc")
