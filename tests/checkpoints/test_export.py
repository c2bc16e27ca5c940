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


def architectures() -> dict[str, Entry]:
    """Return one published checkpoint for every method on every encoder, the first of its name."""
    alike: dict[str, Entry] = {}
    for entry in index().values():
        if not entry.unsupported:
            model = entry.recipe["model"]
            shape = {key: model.get(key) for key in ("segmentor", "backbone", "backbone_options")}
            options = {
                key: len(value) if isinstance(value, list) else bool(value) for key, value in model["options"].items()
            }
            alike.setdefault(repr((entry.project, shape, options)), entry)
    return {entry.name: entry for entry in alike.values()}


ARCHITECTURES = architectures()


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gets_the_names_and_shapes_of_its_project(name: str) -> None:
    entry = ARCHITECTURES[name]
    renaming = RENAMINGS[entry.project](ModelConfig.model_validate(entry.recipe["model"]))
    ours = filled(our_state(entry))
    for missing in ("backbone.encoder.patch_embed.proj.bias",):  # MMSegmentation's second generation has no such bias
        if entry.project == "mmseg" and entry.backbone.startswith("vit_"):
            ours[missing] = torch.zeros(ours[missing].shape)
    theirs = renaming.to_theirs(ours, "the model")
    assert fingerprint(theirs) == entry.fingerprint
    again = renaming.to_ours(theirs, "the file")
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)
