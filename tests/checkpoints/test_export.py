"""Models written for other projects: their names and shapes, and the same weights when they are read again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from vitrail.checkpoints.index import Entry, fingerprint, index
from vitrail.checkpoints.sources.mmseg import source as mmseg
from vitrail.checkpoints.sources.ssseg import source as ssseg
from vitrail.checkpoints.state import model_state
from vitrail.recipes import ModelConfig
from vitrail.segmentors.build import build_model

RENAMINGS = {"mmseg": mmseg.renaming, "ssseg": ssseg.renaming}


def sample() -> dict[str, Entry]:
    """Return published checkpoints that cover every method and every family of encoders of each project."""
    covered: set[tuple[str, str]] = set()
    chosen: dict[str, Entry] = {}
    for entry in sorted(index().values(), key=size):
        shown = {(entry.project, entry.method), (entry.project, entry.backbone[:5])}
        if not entry.unsupported and not shown <= covered:
            covered |= shown
            chosen[entry.name] = entry
    return chosen


def size(entry: Entry) -> tuple[bool, str]:
    """Return a key that sorts the deep and wide encoders last."""
    return any(mark in entry.backbone for mark in ("101", "152", "base", "large", "w48")), entry.name


SAMPLE = sample()


def our_state(entry: Entry) -> dict[str, Tensor]:
    """Return the names and shapes of an architecture's tensors, without values."""
    with torch.device("meta"):
        model = build_model({**entry.recipe["model"], "pretrained": False}, entry.recipe["model"]["num_classes"])
    return model_state(model)


def filled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a value each, in next to no memory."""
    return {
        name: torch.tensor(float(number)).to(value.dtype).expand(value.shape)
        for number, (name, value) in enumerate(state.items(), start=1)
    }


@pytest.mark.parametrize("name", SAMPLE)
def test_a_model_gets_the_names_and_shapes_of_its_project(name: str) -> None:
    entry = SAMPLE[name]
    renaming = RENAMINGS[entry.project](ModelConfig.model_validate(entry.recipe["model"]))
    ours = filled(our_state(entry))
    if entry.project == "mmseg" and entry.backbone.startswith("vit_"):
        bias = "backbone.encoder.patch_embed.proj.bias"  # its second generation has none
        ours[bias] = torch.zeros(ours[bias].shape)
    theirs = renaming.to_theirs(ours, "the model")
    assert fingerprint(theirs) == entry.fingerprint
    again = renaming.to_ours(theirs, "the file")
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)
