from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitrail.checkpoints import load, loading, shipped_models
from vitrail.errors import CheckpointError
from vitrail.recipes import recipe_from_dict
from vitrail.segmentors import Segmentor


@pytest.fixture
def shipped(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "shipped_models", lambda: {"small": model_file})


def test_shipped_models_load_by_name(shipped: None, model: Segmentor) -> None:
    assert load("small").card == model.card


def test_an_unknown_name_suggests_the_nearest(shipped: None) -> None:
    with pytest.raises(CheckpointError, match=r"unknown model 'smal'\. Did you mean 'small'\?"):
        load("smal")


def test_a_name_of_the_hub_without_its_prefix_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"On the Hugging Face hub it would be 'hf/nvidia/segformer-b0'"):
        load("nvidia/segformer-b0")


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.pth", "folder/missing"])
def test_missing_files_are_said_to_be_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"no model file at {name}"):
        load(name)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder without best.safetensors .*; give a model file"):
        load(tmp_path)


def test_the_folder_of_a_training_without_a_best_model_says_what_to_give(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(model_file.read_bytes())
    with pytest.raises(CheckpointError, match=r"give a model file in it, such as last\.safetensors"):
        load(tmp_path)
    load(tmp_path / "last.safetensors")


def test_the_folder_of_a_training_is_its_best_model(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(model_file.read_bytes())
    (tmp_path / "last.safetensors").write_bytes(b"another one")
    found, expected = load(tmp_path).state_dict(), load(model_file).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_goes_to_the_device_asked_for(model_file: Path) -> None:
    assert next(load(model_file, device="meta").parameters()).device == torch.device("meta")


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_every_shipped_model_loads_and_has_a_page(name: str) -> None:
    model = load(name)
    assert model.card is not None
    assert model.card.license
    recipe_from_dict(model.card.recipe)
    assert shipped_models()[name].with_suffix(".md").is_file()
