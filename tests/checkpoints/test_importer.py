"""Weights of CGNet's authors, and files of no known project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrail.checkpoints import convert_file, load
from vitrail.errors import CheckpointError
from vitrail.files.torch_file import read_pickle
from vitrail.recipes import model_file_recipe
from vitrail.segmentors import Segmentor

ONE = torch.ones(1)


@pytest.fixture(scope="module")
def weights_file(shared: Path) -> Path:
    path = shared / "weights" / "cgnet_m3n21_camvid_trainval.pth"
    if not path.is_file():
        pytest.skip(f"no weights of CGNet's authors: {path} does not exist")
    return path


@pytest.fixture
def authors_content(weights_file: Path):
    content = read_pickle(weights_file)
    return {**content, "model": dict(content["model"])}


@pytest.fixture
def made_of(tmp_path: Path) -> Callable[[dict[str, Any]], Segmentor]:
    """Load what a file with this content holds."""

    def make(content: dict[str, Any]) -> Segmentor:
        torch.save(content, tmp_path / "file.pth")
        return load(tmp_path / "file.pth")

    return make


def test_the_authors_weights_load(weights_file: Path) -> None:
    model = load(weights_file)
    assert model.num_classes == 11
    assert model.card.classes[:3] == ("sky", "building", "pole")
    assert model.card.mean == (105.658, 103.330, 99.625)
    assert not model.training
    recipe = model_file_recipe(model.card.recipe, "the card")
    assert (recipe.data.dataset, recipe.data.mean, recipe.data.std) == ("camvid", model.card.mean, (1.0, 1.0, 1.0))


def test_they_load_as_saved_from_several_devices(authors_content, made_of) -> None:
    plain = made_of(authors_content)
    wrapped = {"model": {f"module.{name}": tensor for name, tensor in authors_content["model"].items()}}
    again = made_of(wrapped)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_a_converted_file_gives_the_same_answer(weights_file: Path, tmp_path: Path) -> None:
    line = convert_file(weights_file, tmp_path / "x.safetensors")
    assert "11 classes" in line
    image = torch.randn(1, 3, 64, 96) * 60
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "x.safetensors")(image), load(weights_file)(image))
    with pytest.raises(CheckpointError, match=r"\.safetensors file, not"):
        convert_file(weights_file, tmp_path / "x.pth")


def test_tensors_that_are_left_over_or_missing_are_listed(authors_content, made_of) -> None:
    authors_content["model"]["extra.weight"] = ONE
    del authors_content["model"]["level1_0.act.weight"]
    with pytest.raises(CheckpointError, match=r"1 of \d+ tensors are missing \(backbone.*; 1 are left over \(extra"):
        made_of(authors_content)


def test_another_number_of_classes_is_refused(authors_content, made_of) -> None:
    authors_content["model"]["classifier.0.conv.weight"] = torch.ones(19, 256, 1, 1)
    with pytest.raises(CheckpointError, match="for 19 classes; only those for CamVid's 11"):
        made_of(authors_content)


def test_other_depths_are_recognised_from_the_names(authors_content, made_of) -> None:
    shallow = {name: w for name, w in authors_content["model"].items() if not name.startswith("level3.19.")}
    model = made_of({"model": shallow})
    assert len(model.backbone.level2) == 20


def test_checkpoints_of_unknown_projects_say_what_they_hold(tmp_path: Path) -> None:
    torch.save({"net": {"w": ONE}, "step": 3}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"unknown kind \(it holds: net, step\).*CGNet's authors"):
        load(tmp_path / "x.pth")
