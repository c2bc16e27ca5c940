"""Checkpoint sources: files are recognised by what is in them, and other packages can add sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitrail.checkpoints import Checkpoint, convert_file, export_checkpoint, load, read_checkpoint, register_source
from vitrail.checkpoints.sources import SOURCES, Writer
from vitrail.errors import CheckpointError
from vitrail.segmentors import ModelCard, Segmentor


@pytest.fixture
def registered() -> Iterator[None]:
    """Take away what a test registers."""
    before = dict(SOURCES._entries)
    list(SOURCES)
    yield
    for name in SOURCES._entries.keys() - before.keys():
        del SOURCES._entries[name]


def test_every_built_in_source_is_registered_by_its_name() -> None:
    writers = {"efficientvit", "eomt", "mmseg", "regseg", "sctnet", "ssseg", "transformers", "vitrail"}
    assert set(SOURCES) == {"cgnet_authors", "smp", "torchvision", *writers}
    assert {name for name, source in SOURCES.items() if isinstance(source, Writer)} == writers
    assert all(SOURCES.origin(name) == "vitrail" for name in SOURCES)


def register_folder(name: str, card: ModelCard) -> None:
    """Register a source as another package would: a config.json beside weights whose names begin with "net."."""

    @register_source(name)
    class Folder:
        title = "a project with a config beside its weights"

        def recognise(self, checkpoint: Checkpoint) -> bool:
            return bool(checkpoint.config) and all(name.startswith("net.") for name in checkpoint.tensors)

        def translate(self, checkpoint: Checkpoint, given: ModelCard | None) -> tuple[ModelCard, dict]:
            assert checkpoint.config == {"kind": "small"}
            return given or card, {name.removeprefix("net."): value for name, value in checkpoint.tensors.items()}


def test_a_source_can_read_a_config_beside_the_weights(
    model: Segmentor, model_file: Path, tmp_path: Path, registered: None
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    save_file({f"net.{name}": value for name, value in load_file(model_file).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"kind": "small"}))
    with pytest.raises(CheckpointError, match=r"unknown kind \(it holds: .*known are those of"):
        load(folder / "model.safetensors")
    register_folder("folder", model.card)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(load(folder / "model.safetensors")(images), model.eval()(images))

    register_folder("another", model.card)
    with pytest.raises(CheckpointError, match=r"recognised by several checkpoint sources: another .*, folder"):
        load(folder / "model.safetensors")


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\x00"])
def test_a_config_that_is_none_is_refused_by_those_who_ask_for_it(text: str, model_file: Path) -> None:
    path = model_file.parent / "config.json"
    path.write_text(text)
    assert load(model_file).num_classes == 3  # vitrail's own files do not ask
    with pytest.raises(CheckpointError, match=r"config\.json"):
        _ = read_checkpoint(model_file).config
    path.write_text(json.dumps({"padding": "x" * (5 << 20)}))
    with pytest.raises(CheckpointError, match="too large"):
        _ = read_checkpoint(model_file).config


def test_weights_are_found_among_what_training_saves(tmp_path: Path) -> None:
    one = torch.ones(1)
    for key in ("state_dict", "model"):
        torch.save({"epoch": 3, key: {"module.a": one, "b": one}}, tmp_path / "x.pth")
        checkpoint = read_checkpoint(tmp_path / "x.pth")
        assert (list(checkpoint.tensors), dict(checkpoint.metadata)) == (["a", "b"], {"epoch": 3})
    torch.save({"a": one}, tmp_path / "x.pth")
    assert list(read_checkpoint(tmp_path / "x.pth").tensors) == ["a"]
    torch.save({"module.a": one, "a": one}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"same name with and without 'module.'"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_file_that_describes_itself_is_not_described_by_the_caller(model_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"leave out like=…"):
        load(model_file, like="ssseg/pspnet_resnet50os8_ade20k")


def test_what_cannot_be_written_is_said_before_anything_is_read(model: Segmentor, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unknown checkpoint source 'mmsegg'.*'mmseg'"):
        convert_file("missing.pth", tmp_path / "x.pth", to="mmsegg")
    with pytest.raises(
        CheckpointError, match=r"cannot write .* CGNet's authors.*regseg, sctnet, ssseg, transformers, vitrail"
    ):
        convert_file("missing.pth", tmp_path / "x.pth", to="cgnet_authors")
    with pytest.raises(CheckpointError, match=r"of MMSegmentation is a \.pth file, not"):
        convert_file("missing.pth", tmp_path / "x.safetensors", to="mmseg")
    model.card = None
    with pytest.raises(CheckpointError, match="does not say how it is built"):
        export_checkpoint(model, tmp_path / "x.pth", "mmseg")
    assert not list(tmp_path.glob("x.*"))
