"""The models of EfficientViT's authors: by name and from files, with the logits of the authors' code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitrail
from parity.case import Case
from parity.comparison import compare_logits
from parity.efficientvit import EFFICIENTVIT
from parity.golden import path_of, read, tensors_of
from vitrail.checkpoints import export_checkpoint, loading
from vitrail.checkpoints.best import best_weights
from vitrail.checkpoints.index import index
from vitrail.errors import CheckpointError

NAME = "efficientvit_seg_b0_cityscapes"


@pytest.fixture(scope="module")
def case() -> Case:
    return EFFICIENTVIT[0].small()


@pytest.fixture
def tensors(case: Case) -> dict[str, Tensor]:
    return tensors_of(case, read(path_of(case)))


def test_a_published_model_is_loaded_by_name(
    case: Case, tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(url: str, *, sha256: str | None) -> Path:
        asked.append(url)
        torch.save({"state_dict": tensors}, tmp_path / "model.pt")
        return tmp_path / "model.pt"

    monkeypatch.setattr(loading, "download", fetched)
    model = vitrail.load(f"efficientvit/{NAME}")
    assert asked == [f"https://huggingface.co/han-cai/efficientvit-seg/resolve/main/{NAME}.pt"]
    assert model.card is not None and model.card.name == NAME and model.card.license == "Apache-2.0"
    assert model.card.classes[:2] == ("road", "sidewalk")
    assert model.card.mean == (123.675, 116.28, 103.53)
    assert model.card.metrics["miou"] == pytest.approx(0.75653)
    compare_logits(case, model, read(path_of(case)))


@pytest.mark.parametrize("case", EFFICIENTVIT, ids=str)
def test_a_file_is_known_by_its_tensors(case: Case) -> None:
    size, dataset = case.name.rsplit("_", 2)[1:]
    entry = index()[f"efficientvit/efficientvit_seg_{size}_{dataset}"]
    expected = read(path_of(case))
    shapes = {name: torch.empty(shape, device="meta") for name, shape in expected.tensors.items()}
    assert vitrail.checkpoints.index.fingerprint(shapes) == entry.fingerprint
    assert (entry.backbone, entry.dataset) == (f"efficientvit_{size}", dataset)


def test_images_of_ade20k_are_resized_as_published() -> None:
    resize = index()["efficientvit/efficientvit_seg_b1_ade20k"].card().recipe["data"]["eval_resize"]
    assert resize["size"][0] == 512 and resize["multiple_of"] == 32


def test_a_model_of_ones_own_is_loaded_with_its_classes_and_written_again(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "mine.pt"
    for name in ("weight", "bias"):
        key = f"head.output_ops.0.op_list.1.conv.{name}"
        tensors[key] = tensors[key][:3]
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match=r"EfficientViT that does not say how.*like=…"):
        vitrail.load(path)
    model = vitrail.load(path, like=f"efficientvit/{NAME}", classes=["a", "b", "c"])
    line = export_checkpoint(model, tmp_path / "written.pt", "efficientvit")
    assert line == f"goes with EfficientViT's config {NAME}, with num_classes=3 in every head"
    written = torch.load(tmp_path / "written.pt", weights_only=True)["state_dict"]
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert vitrail.load(tmp_path / "written.pt").card == model.card


def test_a_damaged_download_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").write_bytes(b"<html>")
    monkeypatch.setattr(loading, "download", lambda url, sha256: tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="deleted, so that the next try fetches it again"):
        vitrail.load(f"efficientvit/{NAME}")
    assert not (tmp_path / "model.pt").exists()


def test_they_are_among_the_best_for_their_size() -> None:
    best = [choice.entry.name for choice in best_weights("cityscapes", method="efficientvit")]
    assert best[0] == "efficientvit/efficientvit_seg_l2_cityscapes"
    assert best[-1] == f"efficientvit/{NAME}"


def test_what_cannot_be_read_is_said(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"Did you mean 'efficientvit/{NAME}'"):
        vitrail.load("efficientvit/efficientvit_b0_cityscapes")
    torch.save(tensors, tmp_path / "mine.pt")
    with pytest.raises(CheckpointError, match="EfficientViT has no model like fcn on resnet50c"):
        vitrail.load(tmp_path / "mine.pt", like="mmseg/fcn_r50-d8_4xb2-40k_cityscapes-512x1024")
