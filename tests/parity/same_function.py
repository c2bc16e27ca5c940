"""Whether a segmentor and a reference that carries the same weights are the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from parity.references import mmseg_losses, ssseg_logits, ssseg_losses
from parity.renaming import Rules, Values, randomise, rename, revalue
from torch import Tensor, nn

from vitrail.segmentors import Segmentor

SQUARE_WIDE_ODD = ((128, 128), (128, 192), (129, 161))
TOLERANCE = 1e-4
CLASSES = 9

Layout = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def small_mmseg(**changes: Any) -> dict[str, Any]:
    """Return changes that make a config of MMSegmentation narrow."""
    return {
        "decode_head__channels": 64,
        "auxiliary_head__channels": 32,
        "decode_head__num_classes": CLASSES,
        "auxiliary_head__num_classes": CLASSES,
        **changes,
    }


def small_ssseg(**changes: Any) -> dict[str, Any]:
    """Return changes that make a config of SSSegmentation on a ResNet narrow, and its ResNet one of 18 layers."""
    return {
        "backbone__depth": 18,
        "head__in_channels": 512,
        "head__feats_channels": 64,
        "auxiliary__in_channels": 256,
        "auxiliary__out_channels": 32,
        "num_classes": CLASSES,
        **changes,
    }


def is_ssseg(reference: nn.Module) -> bool:
    return type(reference).__module__.startswith("ssseg.")


def carry(
    reference: nn.Module,
    ours: Segmentor,
    backbone: Rules,
    head: Rules,
    values: Values = (),
    *,
    layouts: Sequence[Layout] = (),
) -> None:
    """Give every parameter of both models the same random value; each must find its place.

    `values` are functions of the encoder's parameters, by their new names; `layouts` are functions of the whole renamed
    state, for what is more than a name.
    """
    randomise(reference)
    prefix = "backbone_net." if is_ssseg(reference) else "backbone."
    state = reference.state_dict()
    encoder = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    rest = {name: value for name, value in state.items() if not name.startswith(prefix)}
    encoder = revalue(rename(encoder, backbone), values)
    renamed = {f"backbone.{name}": value for name, value in encoder.items()}
    renamed |= rename(rest, head)
    for layout in layouts:
        renamed = layout(renamed)
    ours.load_state_dict(renamed, strict=True)


def assert_close(actual: Tensor, expected: Tensor, what: str) -> None:
    assert actual.shape == expected.shape, what
    scale = expected.abs().max().item()
    assert scale > 0, f"{what} says nothing: it is all zeros"
    error = (actual - expected).abs().max().item() / scale
    assert error < TOLERANCE, f"{what} differs by {error:.1e} of the largest value"


@torch.no_grad()
def assert_same_logits(
    reference: nn.Module,
    ours: Segmentor,
    sizes: Sequence[tuple[int, int]] = SQUARE_WIDE_ODD,
    *,
    at_image_size: bool = False,
) -> None:
    """Compare the logits of the head in float32, in evaluation mode.

    `at_image_size` compares what the segmentor predicts, for references that bring logits to the image's size.
    """
    reference.eval()
    ours.eval()
    for size in sizes:
        images = torch.randn(1, 3, *size)
        expected = ssseg_logits(reference, images) if is_ssseg(reference) else reference(images, mode="tensor")
        if isinstance(expected, tuple):  # logits, then what only a loss reads
            expected = expected[0]
        actual = ours(images) if at_image_size else ours.head(ours.backbone(images))
        assert_close(actual, expected, f"logits at {size}")


def images_and_targets(classes: int = CLASSES, size: tuple[int, int] = (97, 129)) -> tuple[Tensor, Tensor]:
    """Two images, and targets with ignored pixels and without the last two classes, in blobs as real ones are."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    coarse = torch.randint(0, classes - 2, (2, 1, 9, 11), generator=generator).float()
    targets = nn.functional.interpolate(coarse, size, mode="nearest")[:, 0].long()
    targets[0, :20] = 255
    targets[1, 60:70, 30:50] = 255
    return images, targets


def first_convolution(model: nn.Module) -> Tensor:
    return next(parameter for parameter in model.parameters() if parameter.dim() == 4)


def assert_same_training(
    reference: nn.Module,
    ours: Segmentor,
    terms: Mapping[str, str],
    classes: int = CLASSES,
    *,
    dtype: torch.dtype = torch.float64,
    **annotations: Tensor,
) -> None:
    """Compare every term of the loss, and the gradient of the encoder's first convolution, in float64.

    `terms` gives the reference's name for each of our terms; `dtype` is for references that cannot do float64.
    """
    reference.to(dtype).train()
    ours.to(dtype).train()
    images, targets = images_and_targets(classes)
    images = images.to(dtype)
    if is_ssseg(reference):
        total, theirs = ssseg_losses(reference, images, targets, **annotations)
        encoder = reference.backbone_net
    else:
        losses = mmseg_losses(reference, images, targets)
        total, theirs = torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}
        encoder = reference.backbone
    mine = ours(images, targets)
    assert set(mine) == set(terms)
    assert set(theirs) - {"loss_total"} == set(terms.values())
    for name, value in mine.items():
        expected = theirs[terms[name]]
        assert abs(value.item() - expected) <= TOLERANCE * abs(expected), f"{name}: {value.item()} is not {expected}"
    total.backward()
    torch.stack(list(mine.values())).sum().backward()
    gradients = [first_convolution(model).grad for model in (ours.backbone, encoder)]
    assert gradients[0] is not None and gradients[1] is not None
    assert_close(gradients[0], gradients[1], "the gradient of the first convolution")
