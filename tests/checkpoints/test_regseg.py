"""The models of RegSeg's author: by name and from files, with the logits of his code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitrail
from parity.case import Case
from parity.comparison import compare_logits
from parity.golden import path_of, read, tensors_of
from parity.regseg import REGSEG
from vitrail.checkpoints import export_checkpoint, loading
from vitrail.checkpoints.index import fingerprint, index
from vitrail.errors import CheckpointError

NAME = "cityscapes_exp48_decoder26_train_1000_epochs_run2"


@pytest.fixture(scope="module")
def case() -> Case:
    return REGSEG[0].small()


@pytest.fixture
def tensors(case: Case) -> dict[str, Tensor]:
    return tensors_of(case, read(path_of(case)))


def test_a_published_model_is_loaded_by_name(
    case: Case, tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(url: str, *, sha256: str | None) -> Path:
        asked.append(url)
        torch.save({"model": tensors, "epoch": 1, "best_mIU": 78.9, "run": 2}, tmp_path / NAME)
        return tmp_path / NAME

    monkeypatch.setattr(loading, "download", fetched)
    model = vitrail.load(f"regseg/{NAME}")
    assert asked == [f"https://github.com/RolandGao/RegSeg/releases/download/v1.0-alpha/{NAME}"]
    assert model.card is not None and model.card.name == NAME and model.card.license == "MIT"
    assert model.card.classes[:2] == ("road", "sidewalk")
    assert model.card.metrics["miou"] == pytest.approx(0.7885)
    compare_logits(case, model, read(path_of(case)))


@pytest.mark.parametrize("case", REGSEG, ids=str)
def test_files_are_known_by_their_tensors(case: Case) -> None:
    shapes = {name: torch.empty(shape, device="meta") for name, shape in read(path_of(case)).tensors.items()}
    alike = {entry.name for entry in index().values() if entry.fingerprint == fingerprint(shapes)}
    assert alike == {name for name in index() if case.name.partition("_")[2] in name}


def test_a_model_of_ones_own_is_loaded_with_its_classes_and_written_again(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    for name in ("decoder.classifier.weight", "decoder.classifier.bias"):
        tensors[name] = tensors[name][:3]
    torch.save({"model": tensors}, tmp_path / "mine.pt")
    with pytest.raises(CheckpointError, match=r"RegSeg that does not say how.*like=…"):
        vitrail.load(tmp_path / "mine.pt")
    model = vitrail.load(tmp_path / "mine.pt", like=f"regseg/{NAME}", classes=["a", "b", "c"])
    line = export_checkpoint(model, tmp_path / "written.pt", "regseg")
    assert line == f"goes with RegSeg's config {NAME}, with num_classes=3 in every head"
    written = torch.load(tmp_path / "written.pt", weights_only=True)["model"]
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert vitrail.load(tmp_path / "written.pt").card == model.card


def test_another_method_cannot_be_written(tmp_path: Path) -> None:
    model = vitrail.load("fastscnn_camvid")
    with pytest.raises(CheckpointError, match="RegSeg has no model like fastscnn on fastscnn"):
        export_checkpoint(model, tmp_path / "written.pt", "regseg")
