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
from vitrail.checkpoints import loading
from vitrail.checkpoints.best import best_weights
from vitrail.checkpoints.checkpoint import Checkpoint
from vitrail.checkpoints.index.hubs import hub_models
from vitrail.checkpoints.sources.efficientvit_authors import MODELS, EfficientViTAuthors, published_recipe
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

    def fetched(url: str) -> Path:
        asked.append(url)
        torch.save({"state_dict": tensors}, tmp_path / "model.pt")
        return tmp_path / "model.pt"

    monkeypatch.setattr(loading, "download", fetched)
    model = vitrail.load(f"efficientvit/{NAME}")
    assert asked == [f"https://huggingface.co/han-cai/efficientvit-seg/resolve/main/{NAME}.pt"]
    assert model.card is not None and model.card.name == "efficientvit_b0_cityscapes"
    assert model.card.classes[:2] == ("road", "sidewalk")
    assert model.card.mean == (123.675, 116.28, 103.53)
    compare_logits(case, model, read(path_of(case)))


def test_images_of_ade20k_are_resized_as_published(tmp_path: Path) -> None:
    case = next(case for case in EFFICIENTVIT if case.reference.settings() == '{"size": "b1", "dataset": "ade20k"}')
    torch.save(tensors_of(case, read(path_of(case))), tmp_path / "mine.pt")
    model = vitrail.load(tmp_path / "mine.pt")
    assert model.card is not None
    resize = model.card.recipe["data"]["eval_resize"]
    assert resize["size"][0] == 512 and resize["multiple_of"] == 32
    assert len(model.card.classes) == 150


def test_a_damaged_download_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").write_bytes(b"<html>")
    monkeypatch.setattr(loading, "download", lambda url: tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="deleted, so that the next try fetches it again"):
        vitrail.load(f"efficientvit/{NAME}")
    assert not (tmp_path / "model.pt").exists()


def test_every_model_is_listed_with_the_published_figure() -> None:
    entries = {name: entry for name, entry in hub_models().items() if entry.method == "efficientvit"}
    assert set(entries) == {f"efficientvit/{name}" for name in MODELS}
    assert entries["efficientvit/efficientvit_seg_l2_cityscapes"].miou == pytest.approx(0.83228)


@pytest.mark.parametrize("case", EFFICIENTVIT, ids=str)
def test_what_is_known_of_a_published_model_is_what_its_file_says(case: Case) -> None:
    expected = read(path_of(case))
    shapes = {name: torch.empty(shape, device="meta") for name, shape in expected.tensors.items()}
    shapes |= {name: torch.empty(shape, device="meta") for name, shape in expected.integers.items()}
    card, _ = EfficientViTAuthors().translate(Checkpoint(shapes, {}, Path("model.pt")), None)
    size, dataset = case.name.rsplit("_", 2)[1:]
    assert card.recipe == published_recipe(f"efficientvit_seg_{size}_{dataset}")


def test_they_are_among_the_best_for_their_size() -> None:
    best = [choice.entry.name for choice in best_weights("cityscapes", method="efficientvit")]
    assert best[0] == "efficientvit/efficientvit_seg_l2_cityscapes"
    assert best[-1] == "efficientvit/efficientvit_seg_b0_cityscapes"


def test_what_cannot_be_read_is_said(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Did you mean 'efficientvit/efficientvit_seg_b0_cityscapes'"):
        vitrail.load("efficientvit/efficientvit_b0_cityscapes")
    path = tmp_path / "mine.pt"
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match="leave out like"):
        vitrail.load(path, like="mmseg/fcn_r50-d8_4xb2-40k_cityscapes-512x1024")
    classifier = "head.output_ops.0.op_list.1.conv.weight"
    torch.save({**tensors, classifier: tensors[classifier][:7]}, path)
    with pytest.raises(CheckpointError, match="for 7 classes; those for cityscapes's 19 and ade20k's 150"):
        vitrail.load(path)
    stem = "backbone.input_stem.op_list.0.conv.weight"
    torch.save({**tensors, stem: tensors[stem][:7]}, path)
    with pytest.raises(CheckpointError, match="of another encoder than efficientvit_b0"):
        vitrail.load(path)
