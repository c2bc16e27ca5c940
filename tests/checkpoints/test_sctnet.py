"""The models of SCTNet's authors: by name and from files, with the logits of their code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitrail
from parity.case import Case
from parity.comparison import compare_logits
from parity.golden import path_of, read, tensors_of
from parity.sctnet import SCTNETS
from vitrail.checkpoints import export_checkpoint, loading
from vitrail.checkpoints.index import find_by_file, fingerprint, index
from vitrail.errors import CheckpointError

NAME = "sctnet-s_seg75_8x2_160k_cityscapes"


@pytest.fixture(scope="module")
def case() -> Case:
    return SCTNETS[0].small()


@pytest.fixture
def tensors(case: Case) -> dict[str, Tensor]:
    return tensors_of(case, read(path_of(case)))


def test_a_published_model_is_loaded_by_name(
    case: Case, tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(url: str, *, sha256: str | None) -> Path:
        asked.append(url)
        teacher = {"auxiliary_head.1.teacher_head.conv_seg.weight": torch.zeros(19, 256, 1, 1)}
        torch.save({"meta": {"iter": 160000}, "state_dict": {**tensors, **teacher}}, tmp_path / "download")
        return tmp_path / "download"

    monkeypatch.setattr(loading, "download", fetched)
    model = vitrail.load(f"sctnet/{NAME}")
    assert asked[0].startswith("https://drive.usercontent.google.com/download?id=1W_VMV8P")
    assert model.card is not None and model.card.name == NAME and model.card.license == "MIT"
    assert model.card.recipe["data"]["eval_resize"] == {"size": [768, 1536]}
    assert model.card.metrics["miou"] == pytest.approx(0.7633)
    compare_logits(case, model, read(path_of(case)))


@pytest.mark.parametrize("case", SCTNETS, ids=str)
def test_files_are_known_by_the_tensors_that_predictions_need(case: Case) -> None:
    shapes = {
        name: torch.empty(shape, device="meta")
        for name, shape in read(path_of(case)).tensors.items()
        if not name.startswith("auxiliary_head.")
    }
    alike = {entry.name for entry in index().values() if entry.fingerprint == fingerprint(shapes)}
    size, _, dataset = case.name.partition("sctnet_")[2].partition("_")
    like = {e.name for e in index().values() if (e.backbone, e.dataset) == (f"sctnet_{size}", dataset)}
    assert alike == like and like


def test_the_size_of_the_images_has_to_be_known(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tensors}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"in which size it sees images.*s_seg50.*s_seg75.*like=…"):
        vitrail.load(tmp_path / "mine.pth")
    model = vitrail.load(tmp_path / "mine.pth", like=f"sctnet/{NAME}")
    assert model.card is not None and model.card.recipe["data"]["eval_resize"] == {"size": [768, 1536]}
    named = (tmp_path / "mine.pth").rename(tmp_path / f"{NAME}.pth")
    assert vitrail.load(named).card == model.card
    assert find_by_file("download") is None  # what the addresses end with


def test_early_logits_may_be_missing(case: Case, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({name: value for name, value in tensors.items() if "auxiliary" not in name}, tmp_path / "mine.pth")
    model = vitrail.load(tmp_path / "mine.pth", like=f"sctnet/{NAME}")
    assert model.card is not None and model.card.recipe["model"]["options"]["early_weight"] == 0
    compare_logits(case, model, read(path_of(case)))
    line = export_checkpoint(model, tmp_path / "written.pth", "sctnet")
    assert line == f"goes with SCTNet's config {NAME}"


def test_a_model_of_ones_own_is_loaded_with_its_classes_and_written_again(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    for name in ("decode_head.conv_seg", "auxiliary_head.0.conv_seg"):
        for end in ("weight", "bias"):
            tensors[f"{name}.{end}"] = tensors[f"{name}.{end}"][:3]
    torch.save({"state_dict": tensors}, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=r"SCTNet that does not say how.*like=…"):
        vitrail.load(tmp_path / "mine.pth")
    model = vitrail.load(tmp_path / "mine.pth", like=f"sctnet/{NAME}", classes=["a", "b", "c"])
    line = export_checkpoint(model, tmp_path / "written.pth", "sctnet")
    assert line == f"goes with SCTNet's config {NAME}, with num_classes=3 in every head"
    written = torch.load(tmp_path / "written.pth", weights_only=True)["state_dict"]
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert vitrail.load(tmp_path / "written.pth").card == model.card
