"""Whether a segmentor and a reference that carries the same weights are the same function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.references import mmseg_losses, ssseg_logits, ssseg_losses
from vitrail.checkpoints.sources.renaming import Part, Table, rename_parts
from vitrail.segmentors import Segmentor

SQUARE_WIDE_ODD = ((128, 128), (128, 192), (129, 161))
TOLERANCE = 1e-4
CLASSES = 9


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
    """Return whether the reference is a model of SSSegmentation."""
    return type(reference).__module__.startswith("ssseg.")


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter and running statistic a value that shows when it is misplaced."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.dim() <= 1:
            centre = 0.0 if name.endswith(("bias", "running_mean")) else 0.7
            value.normal_(0.0, 0.1, generator=generator).add_(centre)
        elif value.dim() in (3, 4) and value.shape[0] == 1:  # position embeddings and the like
            value.normal_(0.0, 0.2, generator=generator)
        else:
            fan = value[0].numel()
            value.normal_(0.0, fan**-0.5, generator=generator)


def carry(reference: nn.Module, ours: Segmentor, backbone: Table, head: Table, *, neck: Table | None = None) -> None:
    """Give every parameter of both models the same random value; each must find its place.

    `neck` is the table of what stands between the encoder and the head and belongs to our encoder.
    """
    randomise(reference)
    first, second = ("backbone_net.", "feats_to_pyramid_net.") if is_ssseg(reference) else ("backbone.", "neck.")
    between = [Part(neck, second, "backbone.neck.")] if neck else []
    parts = [Part(backbone, first, "backbone."), *between, Part(head)]
    ours.load_state_dict(rename_parts(reference.state_dict(), parts, "the reference"), strict=True)


def assert_close(actual: Tensor, expected: Tensor, what: str) -> None:
    """Fail unless the largest difference is within the tolerance of the reference's largest magnitude."""
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
    """Return the weights of the first convolution."""
    return next(parameter for parameter in model.parameters() if parameter.dim() == 4)


def assert_same_training(
    reference: nn.Module,
    ours: Segmentor,
    terms: Mapping[str, str | tuple[str, ...]],
    classes: int = CLASSES,
    *,
    dtype: torch.dtype = torch.float64,
    size: tuple[int, int] = (97, 129),
    **annotations: Tensor,
) -> None:
    """Compare every term of the loss, and the gradient of the encoder's first convolution, in float64.

    `terms` gives the reference's name for each of our terms, or the names of those that it is the sum of; `dtype` and
    `size` are for references that can do neither float64 nor every size.
    """
    reference.to(dtype).train()
    ours.to(dtype).train()
    images, targets = images_and_targets(classes, size)
    images = images.to(dtype)
    if is_ssseg(reference):
        total, theirs = ssseg_losses(reference, images, targets, **annotations)
        encoder = reference.backbone_net
    else:
        losses = mmseg_losses(reference, images, targets)
        total, theirs = torch.stack([v.sum() for v in losses.values()]).sum(), {k: v.item() for k, v in losses.items()}
        encoder = reference.backbone
    mine = ours(images, targets)
    summands = {name: (term,) if isinstance(term, str) else term for name, term in terms.items()}
    assert set(mine) == set(summands)
    assert set(theirs) - {"loss_total"} == {term for names in summands.values() for term in names}
    for name, value in mine.items():
        expected = sum(theirs[term] for term in summands[name])
        assert abs(value.item() - expected) <= TOLERANCE * abs(expected), f"{name}: {value.item()} is not {expected}"
    total.backward()
    torch.stack(list(mine.values())).sum().backward()
    gradients = [first_convolution(model).grad for model in (ours.backbone, encoder)]
    assert gradients[0] is not None and gradients[1] is not None
    assert_close(gradients[0], gradients[1], "the gradient of the first convolution")
