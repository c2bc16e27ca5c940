"""Models written for other projects: their names and shapes, and the same weights when they are read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from vitrail.checkpoints import export_checkpoint, load
from vitrail.checkpoints.complete import complete_section, section_of
from vitrail.checkpoints.index import Entry, fingerprint, index
from vitrail.checkpoints.index.identify import config_of
from vitrail.checkpoints.sources import efficientvit, eomt_authors, regseg, sctnet
from vitrail.checkpoints.sources.mmseg import source as mmseg
from vitrail.checkpoints.sources.ssseg import source as ssseg
from vitrail.checkpoints.state import model_state
from vitrail.cli import cli
from vitrail.errors import CheckpointError
from vitrail.layers.skip_init import shapes_only
from vitrail.recipes import ModelConfig, model_config_from_dict
from vitrail.segmentors import ModelCard, Segmentor, build_model

RENAMINGS = {
    "efficientvit": efficientvit.EfficientViT().renaming,
    "eomt": eomt_authors.EoMTAuthors().renaming,
    "mmseg": mmseg.renaming,
    "regseg": regseg.RegSeg().renaming,
    "sctnet": sctnet.SCTNet().renaming,
    "ssseg": ssseg.renaming,
}


def sample() -> list[Any]:
    """Return published checkpoints that cover every method, and at night every family of encoders, of each project."""
    methods: set[tuple[str, str]] = set()
    families: set[tuple[str, str]] = set()
    chosen = []
    for entry in sorted(index().values(), key=size):
        if entry.unsupported:
            continue
        method, encoder = (entry.project, entry.method), (entry.project, family(entry))
        if method not in methods:
            chosen.append(pytest.param(entry, id=entry.name))
        elif encoder not in families:
            chosen.append(pytest.param(entry, id=entry.name, marks=pytest.mark.nightly))
        methods.add(method)
        families.add(encoder)
    return chosen


def family(entry: Entry) -> str:
    """Return what kind of encoder it is: the first letters of its name, and what may change its tensors' names."""
    options = entry.recipe["model"].get("backbone_options", {})
    return " ".join((entry.backbone[:9], *(key for key in ("prelu", "deep_stem") if options.get(key))))


def size(entry: Entry) -> tuple[bool, str]:
    """Return a key that sorts the deep and wide encoders last."""
    return any(mark in entry.backbone for mark in ("101", "152", "base", "large", "w48")), entry.name


def our_state(section: ModelConfig) -> dict[str, Tensor]:
    """Return the names and shapes of a model's tensors, without values."""
    with shapes_only():
        model = build_model(section, section.num_classes)
    return model_state(model)


def filled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a value each, in next to no memory."""
    return {
        name: torch.tensor(float(number)).to(value.dtype).expand(value.shape)
        for number, (name, value) in enumerate(state.items(), start=1)
    }


@pytest.mark.parametrize("entry", sample())
def test_a_model_gets_the_names_and_shapes_of_its_project(entry: Entry) -> None:
    section = model_config_from_dict(entry.recipe["model"])
    renaming = RENAMINGS[entry.project](section)
    ours = filled(our_state(section))
    if entry.project == "mmseg" and entry.backbone.startswith("vit_") and "_clip_" not in entry.backbone:
        bias = next(each for each in ours if each.endswith("patch_embed.proj.bias"))  # its second generation has none
        ours[bias] = torch.zeros(ours[bias].shape)
    theirs = renaming.to_theirs(ours, "the model")
    assert fingerprint(theirs) == entry.fingerprint
    again = renaming.to_ours(theirs, "the file")
    made = (
        {"head.class_embeddings"} if entry.method == "san" else set()
    )  # of the names of the classes, when it is loaded
    assert again.keys() == ours.keys() - made
    assert all(torch.equal(again[name], ours[name]) for name in again)


@pytest.mark.parametrize("project", ["mmseg", "ssseg"])
def test_a_written_file_is_read_again(project: str, model: Segmentor, tmp_path: Path) -> None:
    # the activations after depthwise convolutions have no weights: both projects can hold the model
    line = export_checkpoint(model, tmp_path / "x.pth", project)
    again = load(tmp_path / "x.pth")
    assert again.card == model.card
    ours, read = model.state_dict(), again.state_dict()
    assert ours.keys() == read.keys()
    assert all(torch.equal(ours[name], read[name]) for name in ours)
    if project == "mmseg":
        assert "goes with MMSegmentation's config fast_scnn_8xb4-160k_cityscapes-512x1024" in line
        assert "with num_classes=3 in every head" in line
    else:  # whose activations stand elsewhere
        assert line == "only the weights are written: no published config of SSSegmentation builds this model"


def test_a_model_of_one_output_has_one_class_in_the_config(model: Segmentor) -> None:
    recipe = {**model.card.recipe, "model": {**model.card.recipe["model"], "num_classes": 1}}
    card = dataclasses.replace(model.card, recipe=recipe, classes=("ground", "water"), palette=((0, 0, 0), (0, 0, 9)))
    line = config_of(card, complete_section(section_of(card, "x")), "mmseg", "MMSegmentation")
    assert "with num_classes=1 in every head" in line


def test_files_of_mmsegmentation_name_the_classes(model: Segmentor, tmp_path: Path) -> None:
    export_checkpoint(model, tmp_path / "x.pth", "mmseg")
    content = torch.load(tmp_path / "x.pth", weights_only=True)  # nothing but plain data and tensors
    described = content["meta"]["dataset_meta"]
    assert described == {"classes": model.card.classes, "palette": [list(colour) for colour in model.card.palette]}
    assert {name.partition(".")[0] for name in content["state_dict"]} == {"backbone", "decode_head", "auxiliary_head"}


def test_images_that_are_normalised_otherwise_are_mentioned(model: Segmentor, tmp_path: Path) -> None:
    model.card = dataclasses.replace(model.card, mean=(1.0, 2.0, 3.0))
    assert "normalised with mean=[1.0, 2.0, 3.0]" in export_checkpoint(model, tmp_path / "x.pth", "mmseg")


def test_a_model_that_a_project_does_not_have_is_refused(tmp_path: Path) -> None:
    section = {"segmentor": "mcibi", "backbone": "resnet18c"}
    model = build_model(model_config_from_dict(section), 3)
    model.card = ModelCard(classes=("a", "b", "c"), palette=((0, 0, 0),) * 3, recipe={"model": section})
    with pytest.raises(CheckpointError, match="MMSegmentation has no method like vitrail's 'mcibi'"):
        export_checkpoint(model, tmp_path / "x.pth", "mmseg")
    section = {"segmentor": "fcn", "backbone": "regnetx_002"}
    model.card = dataclasses.replace(model.card, recipe={"model": section})
    with pytest.raises(CheckpointError, match="SSSegmentation has no encoder like vitrail's 'regnetx_002'"):
        export_checkpoint(model, tmp_path / "x.pth", "ssseg")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error(model: Segmentor, tmp_path: Path) -> None:
    (tmp_path / "x.pth").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot write .*x\.pth"):
        export_checkpoint(model, tmp_path / "x.pth", "mmseg")


def test_the_command_writes_for_other_projects(model_file: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(model_file), str(tmp_path / "x.pth"), "--to", "mmseg"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert "goes with MMSegmentation's config fast_scnn" in result.stdout
    assert load(tmp_path / "x.pth").card.classes == ("road", "sky", "tree")
