"""SCTNet's alignment with a SegFormer against its authors' code, with the same weights."""

from __future__ import annotations

import pytest
import torch

from parity.case import images_of
from parity.missing import MissingToolboxError
from parity.sctnet import alignment_loss, build_alignment
from parity.weights import randomise
from vitrail.checkpoints.sources.mmseg.source import renaming
from vitrail.recipes import model_config_from_dict
from vitrail.segmentors import build_model

pytestmark = pytest.mark.parity

CLASSES = 19


@pytest.mark.parametrize("size", [(128, 192), (97, 129)])
def test_the_loss_and_its_gradient_are_those_of_the_authors(size: tuple[int, int]) -> None:
    try:
        theirs = build_alignment("s", CLASSES).double()
    except MissingToolboxError as error:
        pytest.skip(str(error))
    weights = randomise(theirs)
    theirs.train()

    section = model_config_from_dict({"segmentor": "segformer", "backbone": "mit_b2"})
    parts = {"teacher_backbone.": "backbone.", "teacher_head.": "decode_head."}
    renamed = {
        ours + name.removeprefix(begin): value
        for begin, ours in parts.items()
        for name, value in theirs.state_dict().items()
        if name.startswith(begin)
    }
    teacher = build_model(section, CLASSES)
    teacher.load_state_dict(renaming(section).to_ours(renamed, "the reference"), strict=True)

    options = {"alignment": [3.0, 15.0, 15.0, 15.0]}
    model = build_model(
        model_config_from_dict({"segmentor": "sctnet", "backbone": "sctnet_s", "options": options}), CLASSES
    )
    model.head.set_teacher(teacher.double())
    model.double().train()
    with torch.no_grad():
        for index, name in enumerate(("convstage3", "convstage4", "feature_transforms")):
            for end in ("weight", "bias"):
                model.state_dict()[f"head.alignment.projections.{index}.{end}"].copy_(weights[f"{name}.{end}"])

    images = images_of(size, 2)
    features = [each.detach().requires_grad_() for each in model.backbone(images)]
    loss = model.head.teacher_losses(images, features)["alignment"]
    expected = alignment_loss(theirs, images, features[1:])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    gradients, wanted = (torch.autograd.grad(each, features[1:]) for each in (loss, expected))
    for gradient, reference in zip(gradients, wanted, strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(gradient, reference, rtol=1e-6, atol=1e-8 * reference.abs().max().item())
