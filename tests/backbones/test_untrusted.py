"""Nothing that a recipe or a model file says about an encoder runs code or opens another file."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import vitrail
from vitrail import CheckpointError, ModelCard, ModelError, VitrailError, create_backbone, create_model
from vitrail.checkpoints import loading, save_model


class Runs:
    """Leaves a file behind when a pickle of it is loaded by a reader that runs code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A pickle that makes the folder `trace` beside it when it is run."""
    torch.save({"state_dict": {"a": Runs(tmp_path / "trace")}}, tmp_path / "trap.pth")
    return tmp_path / "trap.pth"


def test_pretrained_weights_are_read_and_not_run(trap: Path) -> None:
    with pytest.raises(CheckpointError):
        create_backbone("resnet10t", pretrained=trap)
    assert not (trap.parent / "trace").exists()


def test_pretrained_weights_with_objects_of_other_classes_beside_them_are_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = create_backbone("resnet10t").encoder
    path = tmp_path / "training.pth"
    torch.save({"state_dict": encoder.state_dict(), "args": argparse.Namespace(lr=0.1)}, path)
    loaded = create_backbone("resnet10t", pretrained=path).encoder
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("name", ["resnet18", "resnet18c", "convnext_atto", "mit_b0"])
@pytest.mark.parametrize("option", ["timm_arguments", "constructor", "known", "checkpoint_path", "pretrained_cfg"])
def test_arguments_of_the_loader_of_timm_are_no_options(name: str, option: str, trap: Path) -> None:
    with pytest.raises(ModelError, match=f"takes no argument '{option}'"):
        create_backbone(name, **{option: {"checkpoint_path": str(trap)}})
    assert not (trap.parent / "trace").exists()


@pytest.mark.parametrize("name", ["resnet18.hf-hub:x", "hf-hub:timm/resnet18", "local-dir:/etc", "../resnet18"])
def test_names_of_encoders_lead_nowhere_else(name: str) -> None:
    with pytest.raises(ModelError, match="unknown backbone"):
        create_backbone(name)


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    model = create_model("fcn", backbone="resnet10t", num_classes=2, output_stride=32)
    section = {"segmentor": "fcn", "backbone": "resnet10t", "output_stride": 32}
    model.card = ModelCard(classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), recipe={"model": section})
    save_model(model, tmp_path / "honest.safetensors")
    return tmp_path / "honest.safetensors"


def with_model_options(path: Path, **changes: Any) -> Path:
    """Return a copy of a model file whose card's model section has these values."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    described = json.loads(metadata["vitrail"])
    described["card"]["recipe"]["model"].update(changes)
    del described["checksum"]  # a stranger writes the right one
    target = path.with_name("changed.safetensors")
    save_file(tensors, target, metadata={"vitrail": json.dumps(described), "format": "pt"})
    return target


@pytest.mark.parametrize("option", ["timm_arguments", "constructor", "pretrained_cfg_overlay"])
def test_a_model_file_opens_no_other_file(honest: Path, trap: Path, option: str) -> None:
    assert vitrail.load(honest)
    with pytest.raises(VitrailError, match="takes no argument"):
        vitrail.load(with_model_options(honest, backbone_options={option: {"checkpoint_path": str(trap)}}))
    assert not (trap.parent / "trace").exists()


@pytest.mark.parametrize("option", ["pretrained", "output_stride", "in_channels"])
def test_what_the_model_section_says_is_no_option_of_the_encoder(honest: Path, trap: Path, option: str) -> None:
    value = str(trap) if option == "pretrained" else 3
    with pytest.raises(VitrailError, match=f"{option} .*backbone_options"):
        vitrail.load(with_model_options(honest, backbone_options={option: value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"channels": 30_000}}, "have another shape|a much larger model"),
        ({"options": {"channels": 10**9}}, r"model\.options\.channels is 1,000,000,000"),
        ({"options": {"num_convs": 10**9}}, r"model\.options\.num_convs is 1,000,000,000"),
        ({"backbone_options": {"out_indices": [1] * 5000}}, r"out_indices has 5,000 entries"),
        ({"options": {"num_convs": 60_000}}, "a much larger model"),
    ],
)
def test_no_memory_is_taken_for_a_model_that_the_file_does_not_hold(
    honest: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    def not_reached(*args: Any, **options: Any) -> None:
        raise AssertionError("the model was built")

    path = with_model_options(honest, **changes)
    monkeypatch.setattr(loading, "build_model", not_reached)
    with pytest.raises(CheckpointError, match=message):
        vitrail.load(path)
