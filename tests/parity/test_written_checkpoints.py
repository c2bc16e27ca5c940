"""Models written for other projects load strictly in the project's own model and give the same logits.

`test_published` compares a sample in both directions; this is one of every method and family, with other weights.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parity.case import images_of
from parity.published import image_size, keep_in_range, load_as_published, reference_of
from parity.weights import randomise
from vitrail.checkpoints import export_checkpoint, load
from vitrail.checkpoints.index import Entry, index
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import build_model

pytestmark = [pytest.mark.parity, pytest.mark.nightly]


def sample() -> list[str]:
    """Return published models, small ones first, that cover every method and family of encoders of each project."""
    covered: set[tuple[str, str]] = set()
    names = []
    for entry in sorted(index().values(), key=_size):
        shown = {(entry.project, entry.method), (entry.project, entry.backbone[:5])}
        if not entry.unsupported and not shown <= covered:
            covered |= shown
            names.append(entry.name)
    return names


def _size(entry: Entry) -> tuple[bool, str]:
    return any(mark in entry.backbone for mark in ("101", "152", "base", "large", "w48")), entry.name


@pytest.mark.parametrize("name", sample())
@torch.no_grad()
def test_the_projects_own_model_takes_what_is_written(name: str, tmp_path: Path) -> None:
    entry = index()[name]
    card = entry.card()
    ours = build_model(model_config_from_dict(card.recipe["model"]), len(card.classes), card=card).eval()
    randomise(ours)
    keep_in_range(ours, entry)
    for parameter_name, parameter in ours.named_parameters():
        if entry.project == "mmseg" and parameter_name.endswith("encoder.patch_embed.proj.bias"):
            parameter.zero_()  # its second generation has no such bias
    ours.head.name_classes(card.classes)  # of SAN: the drawn text encoder makes the vectors of its classes
    path = tmp_path / "written.pth"
    line = export_checkpoint(ours, path, entry.project)
    assert f"'s config {entry.name.partition('/')[2]}" in line and "num_classes" not in line

    theirs = reference_of(entry).build().eval()
    load_as_published(theirs, entry, path)
    images = images_of(image_size(entry)).float()
    expected = reference_of(entry).logits(theirs, images, at_image_size=True)
    difference = (ours(images) - expected).abs().max().item() / expected.abs().max().item()
    assert difference < 1e-4

    again = load(path)
    assert again.card == card
    state = again.state_dict()
    assert state.keys() == ours.state_dict().keys()
    for tensor_name, value in ours.state_dict().items():
        rtol = 1e-5 if tensor_name == "head.class_embeddings" else 0  # of SAN, made again by the text encoder
        torch.testing.assert_close(state[tensor_name], value, rtol=rtol, atol=rtol)
